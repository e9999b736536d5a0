"""What this process counts, in memory; written to the table every 15 seconds, so that no email costs a write."""

from collections import defaultdict
from collections.abc import Mapping
from threading import Event, Lock, Thread, current_thread, local
from uuid import UUID

import structlog

from notify.domain.measures import Measure, Role
from notify.store.database import Database
from notify.store.operations import process_totals

FLUSH_SECONDS = 15.0

Sums = dict[tuple[str, str], list[float]]
"""How many and how many seconds, by measure and label."""

log = structlog.get_logger(__name__)


class Tally:
    """
    Counts in memory and adds what is new to the table now and then; ``count`` is a ``notify.domain.measures.Count``.

    Counting takes no lock: each thread has sums of its own, which only grow. A flush reads all of them and writes
    what they have grown by since the last one that succeeded. A process that is killed loses what it counted
    since then. Made after a fork, never before.

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
        self._threads: list[tuple[Thread, Sums]] = []
        self._ended: Sums = _no_sums()
        self._written: Sums = _no_sums()
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
        """Write what is left, if the database takes it. Safe to repeat."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            self.flush()

    def flush(self) -> None:
        """Write what is new; where the database does not take it, it is new the next time too. Never raises."""
        self.count(Measure.FLUSH, self._role)
        totals = self._totals()
        try:
            with self._database.begin() as connection:
                process_totals.add(connection, process=self._process, counts=self._new(totals))
        except Exception as error:  # noqa: BLE001 - what is only counted must stop nothing else
            log.warning("tally.waiting", error=type(error).__name__)
        else:
            self._written = totals

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            self.flush()

    def _first(self, measure: str, label: str) -> list[float]:
        """The sums of this thread for something that it has not counted yet."""
        mine: Sums | None = getattr(self._mine, "sums", None)
        if mine is None:
            mine = self._mine.sums = {}
            with self._registering:
                self._threads.append((current_thread(), mine))
        return mine.setdefault((measure, label), [0, 0.0])

    def _totals(self) -> Sums:
        """What all threads have counted; those that have ended are kept as one."""
        with self._registering:
            threads, self._threads = self._threads, []
            for thread, sums in threads:
                if thread.is_alive():
                    self._threads.append((thread, sums))
                else:
                    _add(self._ended, sums)
            threads = list(self._threads)
        totals = _no_sums()
        for sums in (self._ended, *(sums for _, sums in threads)):
            _add(totals, sums)
        return totals

    def _new(self, totals: Sums) -> Mapping[tuple[str, str], tuple[int, float]]:
        before = self._written
        grown = {
            name: (count - before[name][0], seconds - before[name][1]) for name, (count, seconds) in totals.items()
        }
        return {name: (int(count), seconds) for name, (count, seconds) in grown.items() if count or seconds}


def _no_sums() -> Sums:
    return defaultdict(lambda: [0, 0.0])


def _add(totals: Sums, sums: Sums) -> None:
    """Its owner may be counting: the copy is made at one instant, and a sum that is read too early is new next time."""
    for name, (count, seconds) in sums.copy().items():
        totals[name][0] += count
        totals[name][1] += seconds
