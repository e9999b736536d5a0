"""Routes to relays, by priority, and the choice of the one that accepts emails now."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from notify.delivery.routes.breaker import Breaker
from notify.delivery.routes.fleet_share import FleetShare
from notify.delivery.routes.pace import Pace
from notify.delivery.routes.rate_limits import RelayRate
from notify.delivery.transactions import Transactions
from notify.domain.outcomes import TOO_MANY_SESSIONS, Released
from notify.domain.ports import Channel
from notify.store.database import UNAVAILABLE
from notify.store.operations.relays import BreakerState

log = structlog.get_logger(__name__)


class Route:
    """
    The route to one relay. Lives as long as its process.

    ``resized`` is called when the number of sessions may have changed.
    """

    def __init__(self, channel: Channel, transactions: Transactions, *, worker: UUID) -> None:
        self.channel = channel
        self.breaker = Breaker(transactions, relay=channel.relay)
        self.rate = RelayRate(transactions, channel.rate, relay=channel.relay)
        self.resized: Callable[[], None] = _no_drain
        self._most = channel.sessions
        self._is_shared = channel.fleet_sessions is not None
        self._pace = Pace(channel.sessions)
        self._share = FleetShare(channel, transactions, worker=worker, changed=self._resize)

    @property
    def sessions(self) -> int:
        """How many sessions may be open."""
        return min(self._pace.sessions, self._share.sessions) if self._is_shared else self._pace.sessions

    async def has_session(self) -> bool:
        """Whether this process may open at least one of the shared sessions. Call ``rest`` afterwards."""
        return await self._share.take()

    def rest(self) -> None:
        """No drain uses the sessions now."""
        self._share.rest()
        self.resized = _no_drain

    async def close(self) -> None:
        """Close all sessions and release them to other workers."""
        await self.channel.close()
        await self._share.release()

    def throttled(self, released: Released, *, begun: float) -> bool:
        """Use fewer sessions after the relay throttled us. False: there was only one."""
        narrower = self._pace.throttled(begun=begun, crowded=released.reason == TOO_MANY_SESSIONS)
        self._resize()
        return narrower

    async def opens(self, state: BreakerState) -> bool:
        """
        Whether the relay accepts a session. Connects before anything is claimed, so that an outage costs no attempt.

        Args:
            state: The breaker's state before; a session closes it.
        """
        refused = await self.channel.open()
        if refused:
            await self.breaker.failed(refused)
            return False
        await self.breaker.connected(state)
        if state.openings:
            self._pace.begin_slowly()
        return True

    def took(self) -> bool:
        """The relay accepted an email; True: call ``breaker.report_success``."""
        if self._pace.sessions < self._most and self._pace.taken():
            self._resize()
        if not self.breaker.has_failures:
            return False
        self.breaker.took()
        return True

    def _resize(self) -> None:
        self.channel.limit(self.sessions)
        self.resized()


def _no_drain() -> None:
    """There is no drain to tell."""


class Routes:
    """
    Chooses the relay: the first by priority that accepts a session. Lives in one event loop.

    Decided: a relay with an open breaker is probed in the background while another accepts emails, so that a server
        that hangs delays nobody; the result counts for the next drain.
    Decided: if other workers have all sessions with a relay, its emails are left to them: it is not down.
    Decided: a relay that refuses a session is skipped at once, before its breaker opens.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._probes: set[asyncio.Task[Route | None]] = set()

    def __len__(self) -> int:
        return len(self._routes)

    async def first_available(self) -> Route | None:
        """The route to use now; None: no relay accepts emails. Risks no email."""
        probes = []
        for route in self._routes:
            state = await route.breaker.state()
            if state.is_open:
                if await route.has_session() and await route.breaker.take_probe():
                    probes.append(self._probe(route, state))
                else:
                    route.rest()
            elif not await route.has_session():
                route.rest()
                return None
            elif await route.opens(state):
                return route
            else:
                route.rest()
        for probe in probes:
            if found := await probe:
                return found
        return None

    async def close(self) -> None:
        """Stop probing and close all sessions."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for route in self._routes:
            await route.close()

    def _probe(self, route: Route, state: BreakerState) -> "asyncio.Task[Route | None]":
        probe = asyncio.create_task(_probed(route, state))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)
        return probe


async def _probed(route: Route, state: BreakerState) -> Route | None:
    """The route, if its relay is back. Logs an unavailable database, because nobody may await this."""
    try:
        return route if await route.opens(state) else None
    except UNAVAILABLE as error:
        log.warning("probe.failed", relay=route.channel.relay, error=type(error).__name__)
        return None
    finally:
        route.rest()
