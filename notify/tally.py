"""What this process counts by itself, written to the table every quarter of a minute: no write for a letter."""

from collections.abc import Mapping
from threading import Event, Lock, Thread
from uuid import UUID

import structlog

from notify.domain.measures import Measure, Role
from notify.store import process_totals
from notify.store.database import Database

FLUSH_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Tally:
    """
    Counts in memory and adds them to the table now and then; ``count`` is a ``notify.domain.measures.Count``.

    A process that is killed loses what it counted since the last time. Made after a fork, never before.

    Args:
        process: Under which the counts are kept as long as it lives.
    """

    def __init__(self, database: Database, *, process: UUID, role: Role, every_seconds: float = FLUSH_SECONDS) -> None:
        self._database = database
        self._process = process
        self._role = role
        self._every = every_seconds
        self._lock = Lock()
        self._counts: dict[tuple[str, str], list[float]] = {}
        self._stopping = Event()
        self._thread: Thread | None = None

    def count(self, measure: Measure, label: str, seconds: float = 0.0) -> None:
        """Take note of one more, which took so long."""
        self._add(measure, label, 1, seconds)

    def start(self) -> None:
        """Begin to write."""
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
        """Write what was counted; where the database does not take it, it is kept for the next time. Never raises."""
        self.count(Measure.FLUSH, self._role)
        counts = self._taken()
        try:
            with self._database.begin() as connection:
                process_totals.add(connection, process=self._process, counts=counts)
        except Exception as error:  # noqa: BLE001 - what is only counted must stop nothing else
            log.warning("tally.waiting", error=type(error).__name__)
            for (measure, label), (count, seconds) in counts.items():
                self._add(measure, label, count, seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            self.flush()

    def _add(self, measure: str, label: str, count: float, seconds: float) -> None:
        with self._lock:
            sums = self._counts.setdefault((measure, label), [0, 0.0])
            sums[0] += count
            sums[1] += seconds

    def _taken(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        with self._lock:
            counts, self._counts = self._counts, {}
        return {name: (int(count), seconds) for name, (count, seconds) in counts.items()}
