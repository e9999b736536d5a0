"""One drain by notify's own workers, from their start to the last outcome, counted at the sink."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from notify.domain.errors import NotifyError
from notify.store.database import Database
from tests.benchmarks import workload
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.meter import family_seconds, metered
from tests.benchmarks.paused_workers import paused_workers
from tests.benchmarks.sink import Sink


class Miscounted(NotifyError):
    """The sink did not take each email exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """
    The duration and costs of a drain.

    ``cpu_seconds`` is the processor time of the worker's three processes, ``server_seconds`` that of PostgreSQL,
    ``peak_bytes`` the worker's proportional memory if it was measured.
    """

    emails: int
    seconds: float
    cpu_seconds: float
    server_seconds: float
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Emails a second."""
        return self.emails / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """The workers' processor time per email."""
        return self.cpu_seconds / self.emails * 1e6

    @property
    def server_microseconds(self) -> float:
        """PostgreSQL's processor time per email."""
        return self.server_seconds / self.emails * 1e6


def drained(servers: BenchmarkServers, sink: Sink, *, emails: int, memory: bool = False) -> Drained:
    """
    Enqueue this many emails on an empty database and drain them.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    with servers.database() as database:
        return drained_from(database, servers, sink, emails=emails, memory=memory)


def drained_from(
    database: Database,
    servers: BenchmarkServers,
    sink: Sink,
    *,
    emails: int,
    memory: bool = False,
    beside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Drained:
    """
    The same on a database that may contain more, of which nothing is due.

    Args:
        beside: Other activity from the start to the last outcome.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    before = sink.emails()
    with TemporaryDirectory(dir=servers.folder) as folder:
        environment = servers.environment(database, sink.url)
        here = settings(environment)
        workload.fill_directory(database)
        workload.enqueue(here, database, emails=emails)
        with paused_workers(here, database, Path(folder), environment=environment) as workers:
            with beside(), metered(workers.pids, memory=memory) as meter:
                began, server = perf_counter(), family_seconds(servers.database_pid)
                workers.start()
                workers.finish()
                seconds, server = perf_counter() - began, family_seconds(servers.database_pid) - server
            taken = sink.wait_for(before + emails) - before
    if taken != emails:
        raise Miscounted(sent=emails, taken=taken, sink=sink.kind)
    return Drained(
        emails=emails,
        seconds=seconds,
        cpu_seconds=meter.cpu_seconds,
        server_seconds=server,
        peak_bytes=meter.peak_bytes,
    )
