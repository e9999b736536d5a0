"""A process's share of the sessions that all workers together may have with a relay."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from uuid import UUID

import structlog

from notify.delivery.transactions import Transactions
from notify.domain.ports import Channel
from notify.domain.rates import SessionUsage
from notify.store.database import UNAVAILABLE
from notify.store.operations import shares

# A share ends after this long unless it is renewed, so that a killed process's sessions become free.
SHARE_DURATION = timedelta(seconds=15)
ASK_SECONDS = 2.0
# While surplus sessions are being closed.
SOON_SECONDS = 0.1
# An idle process keeps this many sessions while nobody else wants them, to save the next handshake.
KEPT_WARM = 1

log = structlog.get_logger(__name__)


class FleetShare:
    """
    How many sessions this process may have with one relay. Lives in one event loop.

    Decided: shares are granted for a limited time and renewed long before they end. A process that cannot renew begins
        no further email, closes its sessions, and finishes the emails being sent.
    Rejected: an advisory lock per session: each needs a connection to PostgreSQL, and none works behind a pooler.

    Args:
        changed: Called when the number of sessions may have changed.

    Attributes:
        in_use: Whether a drain runs; idle sessions go to processes with something to send.
    """

    def __init__(
        self, channel: Channel, transactions: Transactions, *, worker: UUID, changed: Callable[[], None]
    ) -> None:
        self.in_use = False
        self._changed = changed
        self._channel = channel
        self._run = transactions.run
        self._worker = worker
        self._granted = self._announced = 0
        self._until = 0.0
        self._over = False
        self._rested = asyncio.Event()
        self._asking = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> int:
        """How many sessions may be open now."""
        if self._channel.fleet_sessions is None:
            return self._channel.sessions
        return self._granted if monotonic() < self._until else 0

    async def take(self) -> bool:
        """Request as many sessions as the channel can use; whether any was granted."""
        if self._channel.fleet_sessions is None:
            return True
        self.in_use = True
        await self._ask()
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._keep_renewed())
        return self.sessions > 0

    def rest(self) -> None:
        """No drain uses the sessions now, so that other processes soon get them."""
        self.in_use = False
        self._rested.set()

    async def release(self) -> None:
        """Release the share; all sessions are closed."""
        if self._renewal is None:
            return
        self._over = True
        self._rested.set()
        done, _ = await asyncio.wait([self._renewal], timeout=ASK_SECONDS)
        if done:  # otherwise the database is unavailable and the share expires
            with suppress(*UNAVAILABLE):
                await self._run(shares.release, self._channel.relay, self._worker)

    async def _keep_renewed(self) -> None:
        """Renew the share until it is no longer needed."""
        while self._needs_time():
            await self._pause(SOON_SECONDS if self._channel.open_sessions > self.sessions else ASK_SECONDS)
            if self._needs_time():
                await self._renew()

    def _needs_time(self) -> bool:
        return not self._over and (self.in_use or bool(self._announced or self._channel.open_sessions))

    async def _renew(self) -> None:
        try:
            await self._ask()
        except UNAVAILABLE as error:
            log.warning("share.not_renewed", relay=self._channel.relay, error=type(error).__name__)
            self._changed()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rested.wait()
        self._rested.clear()

    async def _ask(self) -> None:
        async with self._asking:
            open_sessions, asked = self._channel.open_sessions, monotonic()
            if self.in_use:
                mine = SessionUsage(wanted=self._channel.sessions, sessions=max(open_sessions, self.sessions))
            else:
                mine = SessionUsage(wanted=min(open_sessions, KEPT_WARM), sessions=open_sessions, is_idle=True)
            self._granted = await self._run(
                shares.request,
                self._channel.relay,
                self._worker,
                cap=self._channel.fleet_sessions or self._channel.sessions,
                mine=mine,
                duration=SHARE_DURATION,
            )
            self._until = asked + SHARE_DURATION.total_seconds()
            self._announced = max(self._granted, mine.sessions)
        self._changed()
