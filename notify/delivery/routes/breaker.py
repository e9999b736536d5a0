"""When to stop asking a relay, and who may ask again: policy over the breaker that all workers share."""

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
# So many different recipients refused for policy, one after another and no email taken between: it is about us.
SUSPECTS = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """After how many failures in a row the breaker opens, and for how long at first."""

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
# Other sessions may end at any moment: a relay that allows no further one is asked again soon.
CROWDED = Policy(opens_after=5, first=timedelta(seconds=5), longest=timedelta(minutes=1))


class Breaker:
    """
    The breaker of one relay, and the recipients that it has refused for policy. Lives in one event loop.

    Decided: whether such refusals are about the recipients or about us, a process decides by what it has heard itself,
        at once, and writes it for the others in the same order. What they have heard replaces it while it has nothing
        to write.

    Attributes:
        is_troubled: Whether an email that the relay takes is news; ``worked`` must be called then.
    """

    def __init__(self, transactions: Transactions, *, relay: str) -> None:
        self.is_troubled = False
        self._run, self._read = transactions.run, transactions.read
        self._relay = relay
        self._suspects: set[str] = set()
        self._changes = 0
        self._unwritten = 0
        self._writing = asyncio.Lock()

    async def state(self) -> BreakerState:
        """Its state; what other workers have learned of the relay is known here from now on."""
        before = self._changes
        state = await self._read(relays.breaker, self._relay)
        if not self._unwritten and self._changes == before:
            self._suspects = set(state.suspects)
        self.is_troubled = self.is_troubled or state.failures > 0 or bool(state.suspects)
        return state

    async def take_probe(self) -> bool:
        """Whether this worker, alone in the fleet, may try an open relay now."""
        return await self._run(relays.take_probe, self._relay, within=PROBE)

    async def connected(self, state: BreakerState) -> None:
        """The relay took a session, which closes the breaker; *state* is what it was before."""
        if state.is_open:
            await self._run(relays.record_probe, self._relay)
        self.is_troubled = self.is_troubled or state.is_open or state.openings > 0

    async def failed(self, released: Released) -> bool:
        """Count a failure of the relay; whether the breaker is open after it."""
        self.is_troubled = True
        log.warning("relay.trouble", relay=self._relay, blame=released.blame, reason=released.reason)
        with suppress(*UNAVAILABLE):
            return (await self._run(_note_failure, self._relay, released)).is_open
        return False

    def judge(self, refusal: Retry, *, recipient: str) -> Retry | Released:
        """A suspicious refusal as it is, or as one about us; ``suspect`` must be called with it then."""
        self._suspects.add(_digest(recipient))
        self._changed()
        return _about_us(refusal) if len(self._suspects) >= SUSPECTS else refusal

    async def suspect(self, refusal: Retry, *, recipient: str) -> bool:
        """Tell all workers whom the relay refused for policy; whether the breaker is open after it."""
        self.is_troubled = True
        with suppress(*UNAVAILABLE):
            async with self._in_turn():
                state = await self._run(_note_suspect, self._relay, _digest(recipient), _about_us(refusal))
            return state.is_open
        return False

    def took(self) -> None:
        """The relay took an email after trouble; ``worked`` must be called."""
        self.is_troubled = False
        self._suspects.clear()
        self._changed()

    async def worked(self) -> None:
        """Tell all workers that the relay took an email after trouble."""
        with suppress(*UNAVAILABLE):
            async with self._in_turn():
                await self._run(relays.record_success, self._relay)

    def _changed(self) -> None:
        self._changes += 1
        self._unwritten += 1

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """One change is written at a time; callers come in the order of the changes."""
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
    """The third different recipient opens the breaker."""
    suspects = relays.record_suspect(connection, relay, recipient=recipient, most=SUSPECTS)
    return _note_failure(connection, relay, refusal) if suspects >= SUSPECTS else relays.breaker(connection, relay)


def _about_us(refusal: Retry) -> Released:
    return Released(reason=refusal.reason, blame=Blame.CONFIGURATION, answer=refusal.answer)


def _digest(address: str) -> str:
    """A recipient without their address."""
    return sha256(address.lower().encode()).hexdigest()[:16]
