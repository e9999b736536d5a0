"""How fast events become rows, compared with a raw bulk insert of the same rows."""

from collections.abc import Iterator
from time import perf_counter

from notify.store.database import Database
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.bulk import seconds_to_insert_again
from tests.benchmarks.rows import Row, at_least
from tests.benchmarks.workload import AUDIENCE


def measure(bench: Bench) -> Iterator[Row]:
    """Rows a second: decided and written from pending events, and only written; the best of the rounds."""
    ours = theirs = 0.0
    emails = bench.scale.events * AUDIENCE
    for _ in range(bench.scale.repeats):
        with bench.servers.database() as database:
            ours = max(ours, _fanned_out(bench.servers, database, emails))
            theirs = max(theirs, emails / seconds_to_insert_again(database))
    yield Row(
        what=f"fan-out of {bench.scale.events:,} events to {AUDIENCE} people each",
        unit="emails/s",
        figure=ours,
        beside="Core insert of the same rows, a list for each table",
        other=theirs,
        goal=at_least(0.6, best=0.8),
    )


def _fanned_out(servers: BenchmarkServers, database: Database, emails: int) -> float:
    workload.fill_directory(database)
    workload.emit(database, emails=emails)
    began = perf_counter()
    written = workload.fan_out(settings(servers.environment(database)), database)
    return written / (perf_counter() - began)
