"""The relays in order of priority, and which of them takes emails now."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from notify.delivery.breaker import Breaker, digest
from notify.delivery.call import Call
from notify.delivery.pace import Pace
from notify.delivery.rates import RelayRate, Room
from notify.delivery.shares import FleetShare
from notify.delivery.suspicion import Suspicion
from notify.domain.outcomes import TOO_MANY_SESSIONS, Blame, Released, Retry
from notify.domain.ports import Channel
from notify.store.database import AWAY, Database
from notify.store.operations.relays import BreakerState

log = structlog.get_logger(__name__)


class Route:
    """
    The way to one relay: its channel, its breaker, its rate, its share and its pace. Lives as long as its process.

    ``troubled`` says whether an email that the relay takes is news for its breaker. ``resized`` is called when there
    may be more or fewer sessions than before.
    """

    def __init__(self, channel: Channel, database: Database, *, worker: UUID, call: Call) -> None:
        self.channel = channel
        self.troubled = False
        self.resized: Callable[[], None] = _nobody
        self._most = channel.sessions
        self._is_shared = channel.fleet_sessions is not None
        self._pace = Pace(channel.sessions)
        self._share = FleetShare(channel, database, worker=worker, call=call, changed=self._resize)
        self._suspicion = Suspicion()
        self._breaker = Breaker(database, relay=channel.relay)
        self._rate = RelayRate(database, channel.rate, relay=channel.relay) if channel.rate else None
        self._call = call

    @property
    def sessions(self) -> int:
        """How many emails may be on their way at once."""
        return min(self._pace.sessions, self._share.sessions) if self._is_shared else self._pace.sessions

    async def has_room(self) -> bool:
        """Whether this process may have a session, of those that all workers share; ``rest`` must be called after."""
        return await self._share.take()

    def rest(self) -> None:
        """Nobody uses the sessions now."""
        self._share.rest()
        self.resized = _nobody

    async def close(self) -> None:
        """End all sessions politely, and let other workers have them."""
        await self.channel.close()
        await self._share.give_back()

    def throttled(self, released: Released, *, begun: float) -> bool:
        """The relay said that there is too much at once: fewer sessions. False when a single one was too many."""
        narrower = self._pace.throttled(begun=begun, crowded=released.reason == TOO_MANY_SESSIONS)
        self._resize()
        return narrower

    async def standing(self) -> BreakerState:
        """Where the breaker stands; what other workers have learned of the relay is known here from now on."""
        before = self._suspicion.changes
        standing = await self._call(self._breaker.standing)
        self._suspicion.heed(standing.suspects, since=before)
        self.troubled = self.troubled or standing.failures > 0 or bool(standing.suspects)
        return standing

    async def may_probe(self) -> bool:
        """Whether this worker, alone in the fleet, may try an open relay now."""
        return await self._call(self._breaker.take_probe)

    async def opens(self, standing: BreakerState) -> bool:
        """
        Whether the relay takes a session: connect before claiming, so that an outage costs no email an attempt.

        Args:
            standing: Where the breaker stood before; a session closes it.
        """
        refused = await self.channel.open()
        if refused:
            await self.blame(refused)
            return False
        if standing.is_open:
            await self._call(self._breaker.probed)
        self.troubled = self.troubled or standing.is_open or standing.openings > 0
        if standing.openings:
            self._pace.begin_slowly()
        return True

    async def blame(self, released: Released) -> bool:
        """Hold a release against the relay; whether its breaker is open after it."""
        self.troubled = True
        log.warning("relay.trouble", relay=self.channel.relay, blame=released.blame, reason=released.reason)
        with suppress(*AWAY):
            return (await self._call(self._breaker.failed, released)).is_open
        return False

    def judged(self, refusal: Retry, *, recipient: str) -> Retry | Released:
        """A suspicious refusal as it is, or as one about us; ``suspect`` must be called with it then."""
        return _about_us(refusal) if self._suspicion.refused(digest(recipient)) else refusal

    async def suspect(self, refusal: Retry, *, recipient: str) -> bool:
        """Tell all workers whom the relay refused for policy; whether its breaker is open after it."""
        self.troubled = True
        with suppress(*AWAY):
            async with self._suspicion.in_turn():
                standing = await self._call(self._breaker.suspected, digest(recipient), _about_us(refusal))
            return standing.is_open
        return False

    def took(self) -> bool:
        """The relay took an email; whether that is news: then ``worked`` must be called."""
        if self._pace.sessions < self._most and self._pace.taken():
            self._resize()
        if not self.troubled:
            return False
        self.troubled = False
        self._suspicion.cleared()
        return True

    async def draw(self, most: int) -> Room:
        """Take the room for as many emails as the relay's rate leaves, at most so many."""
        return Room(most) if self._rate is None else await self._call(self._rate.draw, most)

    async def spend(self, emails: int) -> None:
        """Count emails that no room was drawn for; fewer than none gives back what was drawn for none."""
        if self._rate is not None and emails:
            await self._call(self._rate.spend, emails)

    async def worked(self) -> None:
        """The relay took an email after trouble."""
        with suppress(*AWAY):
            async with self._suspicion.in_turn():
                await self._call(self._breaker.worked)

    def _resize(self) -> None:
        self.channel.limit(self.sessions)
        self.resized()


def _nobody() -> None:
    """No drain runs that could use more sessions."""


def _about_us(refusal: Retry) -> Released:
    return Released(reason=refusal.reason, blame=Blame.CONFIGURATION, answer=refusal.answer)


class Routes:
    """
    Which relay gets the emails: the first by priority that takes a session. Lives in one event loop.

    Decided: an open relay is probed beside the emails where another takes them, so that a server that has gone
        silent holds up nobody; what the probe finds is for the next drain.
    Decided: a relay whose sessions other workers have is no relay that is down: its emails are left to them.
    Decided: a relay that refuses a session is passed over at once, before it has failed often enough to open
        its breaker.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._probes: set[asyncio.Task[Route | None]] = set()

    def __len__(self) -> int:
        return len(self._routes)

    async def admitted(self) -> Route | None:
        """The way that emails go now; None when no relay takes any. Risks no email."""
        probes = []
        for route in self._routes:
            standing = await route.standing()
            if standing.is_open:
                if await route.has_room() and await route.may_probe():
                    probes.append(self._probe(route, standing))
                else:
                    route.rest()
            elif not await route.has_room():
                route.rest()
                return None
            elif await route.opens(standing):
                return route
            else:
                route.rest()
        for probe in probes:
            if found := await probe:
                return found
        return None

    async def close(self) -> None:
        """Leave off probing, and end all sessions politely."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for route in self._routes:
            await route.close()

    def _probe(self, route: Route, standing: BreakerState) -> "asyncio.Task[Route | None]":
        probe = asyncio.create_task(_probed(route, standing))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)
        return probe


async def _probed(route: Route, standing: BreakerState) -> Route | None:
    """The way, if its relay is back; nobody may be there to hear of a database that is away."""
    try:
        return route if await route.opens(standing) else None
    except AWAY as error:
        log.warning("probe.failed", relay=route.channel.relay, error=type(error).__name__)
        return None
    finally:
        route.rest()
