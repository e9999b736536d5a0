"""How much pruning millions of old rows slows the drain down, and how long it takes."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import attrgetter
from threading import Thread
from time import perf_counter

from notify.delivery.retention import Pruning
from notify.domain.errors import NotifyError
from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from tests.benchmarks.bench import Bench
from tests.benchmarks.bulk import age
from tests.benchmarks.drained import Drained, drained_from
from tests.benchmarks.rows import Row, at_least
from tests.benchmarks.sink import Sink, sink
from tests.benchmarks.workload import AUDIENCE

KEPT = RetentionPeriods()


class NothingLeft(NotifyError):
    """Pruning finished before the drain did: the two did not run side by side."""


def measure(bench: Bench) -> Iterator[Row]:
    """The rate of a drain beside pruning, compared with the same drain without; then the rate of pruning alone."""
    rows = bench.scale.pruned_rows
    with bench.servers.database() as database, sink(bench.servers.folder) as near:
        age(database, rows, audience=AUDIENCE)
        alone, beside, pruned = _drains(bench, database, near)
        yield Row(
            what=f"emails sent while {rows:,} old ones are deleted",
            unit="emails/s",
            figure=beside.rate,
            beside="without",
            other=alone.rate,
            goal=at_least(0.85),
            note=f"{pruned:,} were deleted meanwhile",
        )
        began = perf_counter()
        rest = Pruning(database, KEPT).run()
        seconds = perf_counter() - began
        gone = rest.jobs + rest.events
        yield Row(what="old emails and events deleted, nothing due", unit="rows/s", figure=gone / seconds)


def _drains(bench: Bench, database: Database, near: Sink) -> tuple[Drained, Drained, int]:
    """The fastest of a few drains without and with pruning, alternating; and how many emails were pruned meanwhile."""
    alone, beside, pruned = [], [], 0
    emails = bench.scale.emails
    for _ in range(bench.scale.repeats):
        alone.append(drained_from(database, bench.servers, near, emails=emails))
        work = _Upkeep(database.url)
        beside.append(drained_from(database, bench.servers, near, emails=emails, beside=work.going_on))
        pruned += work.pruning.pruned.jobs
    return max(alone, key=attrgetter("rate")), max(beside, key=attrgetter("rate")), pruned


class _Upkeep:
    """A run of pruning beside other work."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.pruning = Pruning(self._database, KEPT)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """
        Prune while the block runs.

        Raises:
            NothingLeft: It finished before the block did.
        """
        with closing(self._database):
            work = Thread(target=self.pruning.run, daemon=True)
            work.start()
            try:
                yield
                if not work.is_alive():
                    raise NothingLeft(jobs=self.pruning.pruned.jobs)
            finally:
                self.pruning.stop()
                work.join()
