"""Counts in memory, written to the table every 15 seconds, so that no email costs a write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread, current_thread, local
from uuid import UUID

import structlog

from notify.domain.measures import Measure, Role
from notify.store.database import Database
from notify.store.operations import process_totals

FLUSH_SECONDS = 15.0

Sums = dict[tuple[str, str], list[float]]
"""Count and total seconds, by measure and label."""


@dataclass(slots=True, eq=False)
class _Counted:
    """The counts of one thread, and how much of them is in the table."""

    thread: Thread
    sums: Sums = field(default_factory=dict)
    written: Sums = field(default_factory=dict)


log = structlog.get_logger(__name__)


class Tally:
    """
    Counts in memory and periodically adds to the table; ``count`` is a ``notify.domain.measures.Count``.

    Counting takes no lock: each thread has its own sums, which only grow. A flush writes how much they have grown
    since the last successful one; a killed process loses the rest. Create it after a fork.

    Args:
        process: The key of these counts in the table.
    """

    def __init__(self, database: Database, *, process: UUID, role: Role, every_seconds: float = FLUSH_SECONDS) -> None:
        self._database = database
        self._process = process
        self._role = role
        self._every = every_seconds
        self._mine = local()
        self._registering = Lock()
        self._threads: list[_Counted] = []
        self._stopping = Event()
        self._thread: Thread | None = None

    def count(self, measure: Measure, label: str, seconds: float = 0.0) -> None:
        try:
            sums = self._mine.sums[measure, label]
        except (AttributeError, KeyError):
            sums = self._first(measure, label)
        sums[0] += 1
        sums[1] += seconds

    def start(self) -> None:
        self._thread = Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the remaining counts, if the database is available. Safe to repeat."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            self.flush()

    def flush(self) -> None:
        """Write new counts; if that fails, the next flush includes them. Never raises."""
        self.count(Measure.FLUSH, self._role)
        with self._registering:
            threads = list(self._threads)
        ended = [one for one in threads if not one.thread.is_alive()]
        # Owners may be counting meanwhile: copy() is atomic, and whatever it misses is written next time.
        read = [{name: list(sums) for name, sums in one.sums.copy().items()} for one in threads]
        try:
            with self._database.begin() as connection:
                process_totals.add(connection, process=self._process, counts=_new(threads, read))
        except Exception as error:  # noqa: BLE001 - counting must not stop anything else
            log.warning("counts.not_written", error=type(error).__name__)
            return
        for one, sums in zip(threads, read, strict=True):
            one.written = sums
        with self._registering:
            self._threads = [one for one in self._threads if one not in ended]

    def _run(self) -> None:
        self.flush()  # at once, so that the process is seen as soon as it runs
        while not self._stopping.wait(self._every):
            self.flush()

    def _first(self, measure: str, label: str) -> list[float]:
        """New sums of this thread for this measure and label."""
        mine: Sums | None = getattr(self._mine, "sums", None)
        if mine is None:
            counted = _Counted(current_thread())
            mine = self._mine.sums = counted.sums
            with self._registering:
                self._threads.append(counted)
        return mine.setdefault((measure, label), [0, 0.0])


def _new(threads: Sequence[_Counted], read: Sequence[Sums]) -> Mapping[tuple[str, str], tuple[int, float]]:
    """How much the sums of all threads have grown since they were written."""
    grown: dict[tuple[str, str], tuple[int, float]] = {}
    for one, sums in zip(threads, read, strict=True):
        for name, (count, seconds) in sums.items():
            written = one.written.get(name, [0, 0.0])
            before = grown.get(name, (0, 0.0))
            grown[name] = (before[0] + int(count - written[0]), before[1] + seconds - written[1])
    return {name: new for name, new in grown.items() if any(new)}
