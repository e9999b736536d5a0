"""Whether forges may be asked while a batch of statuses is applied: what one call hears spares the others theirs."""

from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic

from notify.domain.breakers import FIRST_WAIT, OPENS_AFTER
from notify.domain.forge_answers import CredentialsExpired, ForgeFault, Misconfigured, RateLimited, Unavailable
from notify.store.forges.pauses import FIRST_PAUSE, Pauses


class Gate:
    """
    What is not to be asked while one batch is worked on. Thread-safe.

    Args:
        pauses: As the whole fleet knows them when the batch begins.
        probes: Forges whose breaker is open and which this worker may try with a single call.
        clock: Monotonic seconds.
    """

    def __init__(
        self, pauses: Pauses, *, probes: frozenset[str] = frozenset(), clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        now = clock()
        self._lock = Lock()
        self._until: dict[tuple[str, int | None], float] = {
            (forge, None): now + seconds for forge, seconds in pauses.forges.items()
        }
        self._until |= {one: now + seconds for one, seconds in pauses.installations.items()}
        self._until |= {(forge, None): now + FIRST_WAIT.total_seconds() for forge in pauses.to_be_probed - probes}
        self._single = set(probes)
        self._failures: Counter[str] = Counter()

    def take_turn(self, forge: str) -> float:
        """
        For how long the forge is still not to be asked; 0: the caller may.

        A forge that is to be tried with a single call is closed for all others by the first.
        """
        with self._lock:
            if forge in self._single:
                self._single.discard(forge)
                self._close(forge, None, FIRST_WAIT.total_seconds())
                return 0.0
            return self._seconds_left(forge, None)

    def paused_for(self, forge: str, installation: int | None) -> float:
        """For how long the installation is still not to be asked; 0: it may be, or there is none."""
        with self._lock:
            return 0.0 if installation is None else self._seconds_left(forge, installation)

    def heard(self, forge: str, fault: ForgeFault | None) -> None:
        """What a call was answered; None: what was asked for."""
        with self._lock:
            match None if fault is None else fault.meaning:
                case RateLimited(wait=wait):
                    seconds = (wait or FIRST_PAUSE).total_seconds()
                    self._close(forge, None if fault is None else fault.installation, seconds)
                case Misconfigured():
                    self._close(forge, None, FIRST_WAIT.total_seconds())
                case Unavailable() | CredentialsExpired():
                    self._failures[forge] += 1
                    if self._failures[forge] >= OPENS_AFTER:
                        self._close(forge, None, FIRST_WAIT.total_seconds())
                case _:
                    self._failures[forge] = 0

    def _seconds_left(self, forge: str, installation: int | None) -> float:
        return max(0.0, self._until.get((forge, installation), 0.0) - self._clock())

    def _close(self, forge: str, installation: int | None, seconds: float) -> None:
        known = self._until.get((forge, installation), 0.0)
        self._until[forge, installation] = max(known, self._clock() + seconds)
