"""How many letters arrive twice when a process is killed in the middle of a drain."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from notify.delivery.recorder import MOST_ROWS
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.crew import crew
from tests.benchmarks.drained import Miscounted
from tests.benchmarks.measures.wire import SESSIONS
from tests.benchmarks.place import Place, settings
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sink import Standing, sink

LEASE_SECONDS = "3"
KILLED_AFTER = 1 / 3


def measure(bench: Bench) -> Iterator[Row]:
    """Copies beyond the first, after one of two processes was killed with a third of the letters out."""
    letters = bench.scale.killed_letters
    standing = _killed(bench.place, letters)
    if standing.different != letters:
        raise Miscounted(sent=letters, taken=standing.different, sink="different letters")
    yield Row(
        what="letters repeated after kill -9 in mid-drain",
        unit="letters",
        figure=standing.letters - standing.different,
        goal=at_most(SESSIONS + MOST_ROWS),
        note=f"{letters:,} letters, one of two processes; goal: {SESSIONS} in flight and one flush",
    )


def _killed(place: Place, letters: int) -> Standing:
    with (
        place.database() as database,
        sink(place.folder, own=True) as near,
        TemporaryDirectory(dir=place.folder) as folder,
    ):
        environment = place.environment(database, near.url, lease_seconds=LEASE_SECONDS)
        here = settings(environment)
        workload.fill_directory(database)
        workload.enqueue(here, database, letters=letters)
        with crew(here, database, Path(folder), environment=environment) as workers:
            workers.start()
            near.ask(least=round(letters * KILLED_AFTER))
            workers.running.kill_one_child()
            workers.finish()
        return near.ask()
