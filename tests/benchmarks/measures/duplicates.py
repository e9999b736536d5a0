"""How many emails arrive twice when a process is killed during a drain."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from notify.delivery.recorder import MOST_ROWS
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.drained import Miscounted
from tests.benchmarks.paused_workers import paused_workers
from tests.benchmarks.peers.senders import SESSIONS
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sink import SinkCounts, sink

LEASE_SECONDS = "3"
KILLED_AFTER = 1 / 3


def measure(bench: Bench) -> Iterator[Row]:
    """Copies beyond the first, after one of two processes was killed with a third of the emails sent."""
    emails = bench.scale.killed_emails
    counts = _killed(bench.servers, emails)
    if counts.different != emails:
        raise Miscounted(sent=emails, taken=counts.different, sink="different emails")
    yield Row(
        what="emails repeated after kill -9 in mid-drain",
        unit="emails",
        figure=counts.emails - counts.different,
        goal=at_most(SESSIONS + MOST_ROWS),
        note=f"{emails:,} emails, one of two processes; goal: {SESSIONS} in flight and one flush",
    )


def _killed(servers: BenchmarkServers, emails: int) -> SinkCounts:
    with (
        servers.database() as database,
        sink(servers.folder, own=True) as near,
        TemporaryDirectory(dir=servers.folder) as folder,
    ):
        environment = servers.environment(database, near.url, lease_seconds=LEASE_SECONDS)
        here = settings(environment)
        workload.fill_directory(database)
        workload.enqueue(here, database, emails=emails)
        with paused_workers(here, database, Path(folder), environment=environment) as workers:
            workers.start()
            near.ask(least=round(emails * KILLED_AFTER))
            workers.running.kill_one_child()
            workers.finish()
        return near.ask()
