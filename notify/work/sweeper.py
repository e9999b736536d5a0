"""The sweeper: threads that find due rows without being told, so that mail flows with the broker gone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from threading import Event, Thread
from time import monotonic

import structlog

from notify.domain.liveness import Promise, unwatched
from notify.domain.measures import Count, Measure, uncounted

# The longest waits of one look: for a connection of the pool, for the server, for its answer, twice.
LONGEST_LOOK_SECONDS = 150
# As long as a task may take; a drain that gets on with its work says so itself.
LONGEST_WORK_SECONDS = 960

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """One stage to look after: whether it has something to do, and how it is done."""

    name: str
    is_due: Callable[[], bool]
    work: Callable[[], object]


class Sweeper:
    """
    Asks every stage, about every *seconds*, and works where something is due.

    Each stage has a thread: letters held up by a silent server hold up no event. The pause is
    jittered by a third either way, so that processes do not ask in step. Whatever a stage raises
    is logged, and the sweeping goes on.

    Args:
        promise: Told until when each thread may be silent: before it looks, and before it works.
    """

    def __init__(
        self,
        beats: Sequence[Beat],
        *,
        seconds: float,
        rng: Random,
        count: Count = uncounted,
        promise: Promise = unwatched,
    ) -> None:
        self._seconds = seconds
        self._rng = rng
        self._count = count
        self._promise = promise
        self._beats = beats
        self._stopping = False
        self._awake = {beat.name: Event() for beat in beats}
        self._threads = [
            Thread(target=self._sweep, args=(beat,), name=f"sweeper-{beat.name}", daemon=True) for beat in beats
        ]

    def start(self) -> None:
        """Begin to sweep."""
        for beat in self._beats:
            self._will_look(beat)
        for thread in self._threads:
            thread.start()

    def wake(self, name: str) -> None:
        """There is work for this stage: begin now, if it is looked after here. From any thread."""
        if name in self._awake:
            self._awake[name].set()

    def stop(self, *, timeout_seconds: float) -> None:
        """Sweep no more; waits for the work at hand, but not longer than this."""
        self._stopping = True
        for awake in self._awake.values():
            awake.set()
        ends = monotonic() + timeout_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, ends - monotonic()))

    def _sweep(self, beat: Beat) -> None:
        awake = self._awake[beat.name]
        while True:
            woken = awake.wait(self._seconds * self._rng.uniform(2 / 3, 4 / 3))
            awake.clear()
            if self._stopping:
                return
            self._look_after(beat, woken=woken)
            self._will_look(beat)

    def _will_look(self, beat: Beat) -> None:
        self._promise(beat.name, 2 * self._seconds + LONGEST_LOOK_SECONDS)

    def _finds_work(self, beat: Beat) -> bool:
        found = beat.is_due()
        self._count(Measure.SWEEP, beat.name)
        if found:
            self._count(Measure.SWEEP_FOUND, beat.name)
        return found

    def _look_after(self, beat: Beat, *, woken: bool) -> None:
        try:
            if woken or self._finds_work(beat):
                self._promise(beat.name, LONGEST_WORK_SECONDS)
                beat.work()
        except Exception as error:  # noqa: BLE001 - a sweep that fails must not be the last
            log.warning("sweep.failed", stage=beat.name, error=type(error).__name__)
