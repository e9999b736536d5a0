"""One drain by the product's own workers, from the go to the last outcome, counted at the sink."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from notify.domain.errors import NotifyError
from notify.store.database import Database
from tests.benchmarks import workload
from tests.benchmarks.crew import crew
from tests.benchmarks.meter import family_seconds, metered
from tests.benchmarks.place import Place, settings
from tests.benchmarks.sink import Sink


class Miscounted(NotifyError):
    """The sink did not take each letter exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """
    What it took.

    ``cpu_seconds`` is the processor time of the worker's three processes, ``server_seconds`` that of PostgreSQL,
    ``peak_bytes`` the worker's proportional memory if it was asked for.
    """

    letters: int
    seconds: float
    cpu_seconds: float
    server_seconds: float
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Letters a second."""
        return self.letters / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Processor time of the workers, a letter."""
        return self.cpu_seconds / self.letters * 1e6

    @property
    def server_microseconds(self) -> float:
        """Processor time of PostgreSQL, a letter."""
        return self.server_seconds / self.letters * 1e6


def drained(place: Place, sink: Sink, *, letters: int, memory: bool = False) -> Drained:
    """
    Enqueue so many on an empty database and have them sent.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    with place.database() as database:
        return drained_from(database, place, sink, letters=letters, memory=memory)


def drained_from(
    database: Database,
    place: Place,
    sink: Sink,
    *,
    letters: int,
    memory: bool = False,
    beside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Drained:
    """
    The same on a database that may hold more, of which nothing is due.

    Args:
        beside: What else goes on from the go to the last outcome.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    before = sink.letters()
    with TemporaryDirectory(dir=place.folder) as folder:
        environment = place.environment(database, sink.url)
        here = settings(environment)
        workload.fill_directory(database)
        workload.enqueue(here, database, letters=letters)
        with crew(here, database, Path(folder), environment=environment) as workers:
            with beside(), metered(workers.pids, memory=memory) as meter:
                began, server = perf_counter(), family_seconds(place.database_pid)
                workers.start()
                workers.finish()
                seconds, server = perf_counter() - began, family_seconds(place.database_pid) - server
            taken = sink.wait_for(before + letters) - before
    if taken != letters:
        raise Miscounted(sent=letters, taken=taken, sink=sink.kind)
    return Drained(
        letters=letters,
        seconds=seconds,
        cpu_seconds=meter.cpu_seconds,
        server_seconds=server,
        peak_bytes=meter.peak_bytes,
    )


def best(place: Place, sink: Sink, *, letters: int, repeats: int, memory: bool = False) -> Drained:
    """The fastest of a few drains: neighbours on the machine only ever slow it down."""
    return max((drained(place, sink, letters=letters, memory=memory) for _ in range(repeats)), key=attrgetter("rate"))
