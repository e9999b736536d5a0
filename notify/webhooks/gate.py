"""Which endpoints may be called while a batch is worked on: what one call hears spares the others theirs."""

from collections import Counter
from collections.abc import Iterable
from time import monotonic

from sqlalchemy import Connection

from notify.domain.breakers import FIRST_WAIT, OPENS_AFTER, PROBE_WITHIN
from notify.domain.webhooks import CallVerdict, Trouble
from notify.store.operations import relays
from notify.store.webhooks.calls import Receiver


class Gate:
    """Lives in one event loop. Create it with ``of``."""

    def __init__(self, until: dict[int, float], *, probes: set[int]) -> None:
        self._closed_until = until
        self._probes = probes
        self._failures: Counter[int] = Counter()

    @classmethod
    def of(cls, connection: Connection, receivers: Iterable[Receiver]) -> "Gate":
        """As the fleet knows these endpoints; takes the probe of those whose breaker is open, if nobody has it."""
        now, until, probes = monotonic(), {}, set()
        for one in sorted({one.id: one for one in receivers}.values(), key=lambda one: one.id):
            if one.wait > 0:
                until[one.id] = now + one.wait
            elif one.is_open and not one.is_disabled:
                if relays.take_probe(connection, one.breaker, within=PROBE_WITHIN):
                    probes.add(one.id)
                else:
                    until[one.id] = now + FIRST_WAIT.total_seconds()
        return cls(until, probes=probes)

    def wait(self, receiver: Receiver) -> float:
        """For how many more seconds the endpoint is not to be called; 0: it may be."""
        return max(0.0, self._closed_until.get(receiver.id, 0.0) - monotonic())

    def take_turn(self, receiver: Receiver) -> float:
        """As ``wait``; the call that has the probe closes the endpoint to all others."""
        if receiver.id in self._probes:
            self._probes.discard(receiver.id)
            self.close(receiver)
            return 0.0
        return self.wait(receiver)

    def close(self, receiver: Receiver, seconds: float = FIRST_WAIT.total_seconds()) -> None:
        """Call the endpoint no more for so long."""
        self._closed_until[receiver.id] = monotonic() + seconds

    def heard(self, receiver: Receiver, verdict: CallVerdict) -> None:
        """What a call means for those after it."""
        match verdict.trouble:
            case Trouble.LIMITS_RATE:
                self.close(receiver, verdict.delay.total_seconds())
            case Trouble.GONE:
                self.close(receiver)
            case Trouble.FAILING:
                self._failures[receiver.id] += 1
                if self._failures[receiver.id] >= OPENS_AFTER:
                    self.close(receiver)
            case None:
                self._failures[receiver.id] = 0
