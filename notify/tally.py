"""What a process counts in memory, and writes to the table every 15 seconds: no email costs a write."""

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
"""How many and how many seconds, by measure and label."""


@dataclass(slots=True, eq=False)
class _Counted:
    """What one thread has counted, and how much of it is in the table."""

    thread: Thread
    sums: Sums = field(default_factory=dict)
    written: Sums = field(default_factory=dict)


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
        """Write what is left, if the database takes it. Safe to repeat."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            self.flush()

    def flush(self) -> None:
        """Write what is new; what the database does not take is new the next time too. Never raises."""
        self.count(Measure.FLUSH, self._role)
        with self._registering:
            threads = list(self._threads)
        ended = [one for one in threads if not one.thread.is_alive()]
        # Its owner may be counting: a copy is made at one instant, and a sum that is read too early is new next time.
        read = [{name: list(sums) for name, sums in one.sums.copy().items()} for one in threads]
        try:
            with self._database.begin() as connection:
                process_totals.add(connection, process=self._process, counts=_new(threads, read))
        except Exception as error:  # noqa: BLE001 - what is only counted must stop nothing else
            log.warning("tally.waiting", error=type(error).__name__)
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
        """The sums of this thread for something that it has not counted yet."""
        mine: Sums | None = getattr(self._mine, "sums", None)
        if mine is None:
            counted = _Counted(current_thread())
            mine = self._mine.sums = counted.sums
            with self._registering:
                self._threads.append(counted)
        return mine.setdefault((measure, label), [0, 0.0])


def _new(threads: Sequence[_Counted], read: Sequence[Sums]) -> Mapping[tuple[str, str], tuple[int, float]]:
    """By how much the sums of all threads have grown since they were written."""
    grown: dict[tuple[str, str], tuple[int, float]] = {}
    for one, sums in zip(threads, read, strict=True):
        for name, (count, seconds) in sums.items():
            written = one.written.get(name, [0, 0.0])
            before = grown.get(name, (0, 0.0))
            grown[name] = (before[0] + int(count - written[0]), before[1] + seconds - written[1])
    return {name: new for name, new in grown.items() if any(new)}
