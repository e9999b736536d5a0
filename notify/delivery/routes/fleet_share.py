"""The share of one process in the sessions that all workers together may have with a relay."""

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

# What a killed process had is free again after so long; an answer that takes longer ends the share.
LASTS = timedelta(seconds=15)
ASK_SECONDS = 2.0
# Sessions that are to go do so in no time, unless an email is on its way.
SOON_SECONDS = 0.1
# What a process keeps, so that the next email needs no handshake, while nobody else wants it.
KEPT_WARM = 1

log = structlog.get_logger(__name__)


class FleetShare:
    """
    How many sessions this process may have with one relay. Lives in one event loop.

    Decided: sessions are lent by the database for a while, and asked for again long before it is over. A process that
        cannot ask begins no email when it is over, and lets its sessions go; what is on its way is finished.
    Rejected: an advisory lock for each session: one connection to PostgreSQL each, and none through a pooler.

    Args:
        changed: Called when there may be more or fewer than before.

    Attributes:
        in_use: Whether a drain runs; sessions that only rest go to whoever has something to send.
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
        self._keeping: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> int:
        """How many may be open now."""
        if self._channel.fleet_sessions is None:
            return self._channel.sessions
        return self._granted if monotonic() < self._until else 0

    async def take(self) -> bool:
        """Ask for as many as the channel can use; whether there is one."""
        if self._channel.fleet_sessions is None:
            return True
        self.in_use = True
        await self._ask()
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())
        return self.sessions > 0

    def rest(self) -> None:
        """Nobody uses the sessions now; whoever waits for some should not wait long."""
        self.in_use = False
        self._rested.set()

    async def give_back(self) -> None:
        """There are no sessions any more."""
        if self._keeping is None:
            return
        self._over = True
        self._rested.set()
        done, _ = await asyncio.wait([self._keeping], timeout=ASK_SECONDS)
        if done:  # else the database is silent, and the share ends by itself
            with suppress(*UNAVAILABLE):
                await self._run(shares.release, self._channel.relay, self._worker)

    async def _keep(self) -> None:
        """Ask again until there is nothing left to ask for."""
        while self._needs_time():
            await self._pause(SOON_SECONDS if self._channel.open_sessions > self.sessions else ASK_SECONDS)
            if self._needs_time():
                await self._insist()

    def _needs_time(self) -> bool:
        return not self._over and (self.in_use or bool(self._announced or self._channel.open_sessions))

    async def _insist(self) -> None:
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
                duration=LASTS,
            )
            self._until = asked + LASTS.total_seconds()
            self._announced = max(self._granted, mine.sessions)
        self._changed()
