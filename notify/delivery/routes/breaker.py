"""When a relay's breaker opens and who probes it: policy for the breaker that all workers share."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType

import structlog
from sqlalchemy import Connection

from notify.delivery.transactions import Transactions
from notify.domain.outcomes import TOO_MANY_SESSIONS, Blame, Released, Retry
from notify.store.database import UNAVAILABLE
from notify.store.operations import relays
from notify.store.operations.relays import BreakerState

PROBE = timedelta(seconds=60)
# This many different recipients refused for policy without a success in between: our configuration is to blame.
SUSPECTS = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """After how many failures in a row the breaker opens, and for how long."""

    opens_after: int
    first: timedelta
    longest: timedelta = timedelta(minutes=5)


POLICIES: Mapping[Blame, Policy] = MappingProxyType(
    {
        Blame.RELAY: Policy(opens_after=5, first=timedelta(seconds=5)),
        Blame.CONFIGURATION: Policy(opens_after=1, first=timedelta(seconds=30)),
        Blame.THROTTLE: Policy(opens_after=1, first=timedelta(seconds=60)),
    }
)
# Another worker's session may end at any moment, so the wait is short.
CROWDED = Policy(opens_after=5, first=timedelta(seconds=5), longest=timedelta(minutes=1))


class Breaker:
    """
    The breaker of one relay, and the recipients that it has refused for policy. Lives in one event loop.

    Decided: a process judges policy refusals at once, by the replies that it has received itself, and stores them for
        the others in the same order. It adopts the stored ones whenever it has nothing left to store.

    Attributes:
        has_failures: Whether the next success must be reported with ``report_success``.
    """

    def __init__(self, transactions: Transactions, *, relay: str) -> None:
        self.has_failures = False
        self._run, self._read = transactions.run, transactions.read
        self._relay = relay
        self._suspects: set[str] = set()
        self._changes = 0
        self._unwritten = 0
        self._writing = asyncio.Lock()

    async def state(self) -> BreakerState:
        """Its state, including what other workers have stored."""
        before = self._changes
        state = await self._read(relays.breaker, self._relay)
        if not self._unwritten and self._changes == before:
            self._suspects = set(state.suspects)
        self.has_failures = self.has_failures or state.failures > 0 or bool(state.suspects)
        return state

    async def take_probe(self) -> bool:
        """Whether this worker, and no other, may probe an open relay now."""
        return await self._run(relays.take_probe, self._relay, within=PROBE)

    async def connected(self, state: BreakerState) -> None:
        """Close the breaker after a session was accepted; *state* is the state before."""
        if state.is_open:
            await self._run(relays.record_probe, self._relay)
        self.has_failures = self.has_failures or state.is_open or state.openings > 0

    async def failed(self, released: Released) -> bool:
        """Count a failure of the relay; whether the breaker is open afterwards."""
        self.has_failures = True
        log.warning("relay.failed", relay=self._relay, blame=released.blame, reason=released.reason)
        with suppress(*UNAVAILABLE):
            return (await self._run(_note_failure, self._relay, released)).is_open
        return False

    def judge(self, refusal: Retry, *, recipient: str) -> Retry | Released:
        """The refusal itself, or a configuration failure after too many suspects; then call ``report_suspect``."""
        self._suspects.add(_digest(recipient))
        self._changed()
        return _blame_configuration(refusal) if len(self._suspects) >= SUSPECTS else refusal

    async def report_suspect(self, refusal: Retry, *, recipient: str) -> bool:
        """Store whom the relay refused for policy; whether the breaker is open afterwards."""
        self.has_failures = True
        with suppress(*UNAVAILABLE):
            async with self._in_turn():
                state = await self._run(_note_suspect, self._relay, _digest(recipient), _blame_configuration(refusal))
            return state.is_open
        return False

    def took(self) -> None:
        """The relay accepted an email after failures; then call ``report_success``."""
        self.has_failures = False
        self._suspects.clear()
        self._changed()

    async def report_success(self) -> None:
        """Store that the relay accepted an email after failures."""
        with suppress(*UNAVAILABLE):
            async with self._in_turn():
                await self._run(relays.record_success, self._relay)

    def _changed(self) -> None:
        self._changes += 1
        self._unwritten += 1

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Store one change at a time, in order."""
        try:
            async with self._writing:
                yield
        finally:
            self._unwritten -= 1


def _note_failure(connection: Connection, relay: str, released: Released) -> BreakerState:
    crowded = released.blame is Blame.THROTTLE and released.reason == TOO_MANY_SESSIONS
    policy = CROWDED if crowded else POLICIES.get(released.blame)
    if policy is None:
        return relays.breaker(connection, relay)
    return relays.record_failure(
        connection,
        relay,
        reason=f"{released.blame}: {released.reason}",
        error=released.answer.text if released.answer else "",
        opens_after=policy.opens_after,
        first=policy.first,
        longest=policy.longest,
    )


def _note_suspect(connection: Connection, relay: str, recipient: str, refusal: Released) -> BreakerState:
    """Open the breaker at the third different recipient."""
    suspects = relays.record_suspect(connection, relay, recipient=recipient, most=SUSPECTS)
    return _note_failure(connection, relay, refusal) if suspects >= SUSPECTS else relays.breaker(connection, relay)


def _blame_configuration(refusal: Retry) -> Released:
    return Released(reason=refusal.reason, blame=Blame.CONFIGURATION, answer=refusal.answer)


def _digest(address: str) -> str:
    """A hash that stands for the recipient."""
    return sha256(address.lower().encode()).hexdigest()[:16]
