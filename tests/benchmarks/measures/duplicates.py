"""How many emails arrive twice when a process is killed in the middle of a drain."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from notify.delivery.recorder import MOST_ROWS
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.crew import crew
from tests.benchmarks.drained import Miscounted
from tests.benchmarks.peers.senders import SESSIONS
from tests.benchmarks.place import Place, settings
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sink import Standing, sink

LEASE_SECONDS = "3"
KILLED_AFTER = 1 / 3


def measure(bench: Bench) -> Iterator[Row]:
    """Copies beyond the first, after one of two processes was killed with a third of the emails out."""
    emails = bench.scale.killed_emails
    standing = _killed(bench.place, emails)
    if standing.different != emails:
        raise Miscounted(sent=emails, taken=standing.different, sink="different emails")
    yield Row(
        what="emails repeated after kill -9 in mid-drain",
        unit="emails",
        figure=standing.emails - standing.different,
        goal=at_most(SESSIONS + MOST_ROWS),
        note=f"{emails:,} emails, one of two processes; goal: {SESSIONS} in flight and one flush",
    )


def _killed(place: Place, emails: int) -> Standing:
    with (
        place.database() as database,
        sink(place.folder, own=True) as near,
        TemporaryDirectory(dir=place.folder) as folder,
    ):
        environment = place.environment(database, near.url, lease_seconds=LEASE_SECONDS)
        here = settings(environment)
        workload.fill_directory(database)
        workload.enqueue(here, database, emails=emails)
        with crew(here, database, Path(folder), environment=environment) as workers:
            workers.start()
            near.ask(least=round(emails * KILLED_AFTER))
            workers.running.kill_one_child()
            workers.finish()
        return near.ask()
