"""When to stop asking a relay, and who may ask again: policy over the breaker that all workers share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType

from notify.domain.outcomes import TOO_MANY_SESSIONS, Blame, Released
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.operations.relays import BreakerState

PROBE = timedelta(seconds=60)
# So many different recipients refused for policy, one after another and no email taken between: it is about us.
SUSPECTS = 3


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


def digest(address: str) -> str:
    """What stands for a recipient where the address itself has no business."""
    return sha256(address.lower().encode()).hexdigest()[:16]


# Other sessions may end at any moment: a relay that has no room for one is asked again soon, and by all who wait.
CROWDED = Policy(opens_after=5, first=timedelta(seconds=5), longest=timedelta(minutes=1))


class Breaker:
    """The breaker of one relay. Every method is one short transaction."""

    def __init__(self, database: Database, *, relay: str) -> None:
        self._database = database
        self._relay = relay

    def standing(self) -> BreakerState:
        """Where it stands now."""
        with self._database.begin() as connection:
            return relays.breaker(connection, self._relay)

    def take_probe(self) -> bool:
        """Whether this worker, alone in the fleet, may try an open relay now."""
        with self._database.begin() as connection:
            return relays.take_probe(connection, self._relay, within=PROBE)

    def failed(self, released: Released) -> BreakerState:
        """Hold a release against the relay; where the breaker stands after it."""
        crowded = released.blame is Blame.THROTTLE and released.reason == TOO_MANY_SESSIONS
        policy = CROWDED if crowded else POLICIES.get(released.blame)
        if policy is None:
            return self.standing()
        with self._database.begin() as connection:
            return relays.note_failure(
                connection,
                self._relay,
                reason=f"{released.blame}: {released.reason}",
                error=released.answer.text if released.answer else "",
                opens_after=policy.opens_after,
                first=policy.first,
                longest=policy.longest,
            )

    def suspected(self, recipient: str, refusal: Released) -> BreakerState:
        """
        Remember that this recipient was refused for policy; the third different one opens the breaker.

        Args:
            recipient: As ``digest`` has it.
            refusal: What is held against the relay then.
        """
        with self._database.begin() as connection:
            suspects = relays.note_suspect(connection, self._relay, recipient=recipient, most=SUSPECTS)
        return self.failed(refusal) if suspects >= SUSPECTS else self.standing()

    def probed(self) -> None:
        """The relay took a session after trouble."""
        with self._database.begin() as connection:
            relays.note_probe(connection, self._relay)

    def worked(self) -> None:
        """The relay took an email after trouble."""
        with self._database.begin() as connection:
            relays.note_success(connection, self._relay)
