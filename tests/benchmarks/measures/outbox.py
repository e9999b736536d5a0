"""Claim and record of fifty emails beside ten thousand to millions of rows, ended or pending."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, thread_time
from typing import TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import Connection

from notify.domain.outcomes import Answer, Phase, Sent, settle
from notify.store.database import Database
from notify.store.outbox import outbox
from notify.store.outbox.outbox import AttemptOutcome
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers, cache, settings
from tests.benchmarks.bulk import Bulk
from tests.benchmarks.rows import Goal, Row, at_most

T = TypeVar("T")

BATCH = 50
LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)
HISTORY, BACKLOG = "history", "backlog"
# Of the claim at the largest size, compared with the smallest.
GOALS = {HISTORY: at_most(1.1, best=1), BACKLOG: at_most(1.25, best=1.1)}


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Medians in milliseconds of processor time, the client's and the server's, which other load disturbs least.

    Without the commit, which costs the same however many rows there are.
    """

    claim: float
    record: float


def measure(bench: Bench) -> Iterator[Row]:
    """Claim and record at each size, compared with the smallest, alternating: a machine that slows down slows both."""
    for kind in (HISTORY, BACKLOG):
        with bench.servers.database() as database:
            yield from _grown(_Outbox(bench.servers, database, kind), bench)


def _grown(large: "_Outbox", bench: Bench) -> Iterator[Row]:
    scale, kind = bench.scale, large.kind
    smallest, *sizes = scale.outbox_rows
    for size in sizes:
        large.grow(size)
        with bench.servers.database() as database:
            small = _Outbox(bench.servers, database, kind)
            small.grow(smallest)
            beside, cost = _by_turns(small, large, scale.claims)
        if size == sizes[0]:
            yield from _rows(cost=beside, where=f"at {smallest:,} rows of {kind}")
        yield from _rows(
            cost=cost,
            where=f"at {size:,} rows of {kind}",
            beside=f"at {smallest:,} rows",
            other=beside,
            goal=GOALS[kind] if size == sizes[-1] else None,
        )


def _rows(
    *, cost: Cost, where: str, beside: str = "", other: Cost | None = None, goal: Goal | None = None
) -> Iterator[Row]:
    row = partial(Row, unit="ms CPU", beside=beside)
    yield row(
        what=f"claim of {BATCH} {where}",
        figure=cost.claim,
        other=other.claim if other else None,
        goal=goal,
        note=f"PostgreSQL keeps {cache()} in memory",
    )
    yield row(what=f"record of {BATCH} {where}", figure=cost.record, other=other.record if other else None)


def _by_turns(small: "_Outbox", large: "_Outbox", claims: int) -> tuple[Cost, Cost]:
    """The cost of each, alternating claim by claim."""
    for one in (small, large):
        one.prepare(claims + 1)
    times = [(small.once(), large.once()) for _ in range(claims + 1)][1:]  # the first claim prepares the statements
    return _median([one for one, _ in times]), _median([one for _, one in times])


def _median(times: Sequence[Cost]) -> Cost:
    return Cost(median(one.claim for one in times), median(one.record for one in times))


class _Outbox:
    """An outbox that grows by ended emails, or by pending ones."""

    def __init__(self, servers: BenchmarkServers, database: Database, kind: str) -> None:
        self.kind = kind
        self._servers = servers
        self._database = database
        self._bulk = Bulk(database)
        self._rows = 0

    def grow(self, rows: int) -> None:
        """Load up to this many rows."""
        add = self._bulk.finish if self.kind == HISTORY else self._bulk.wait
        add(self._rows + 1, rows)
        self._rows = rows

    def prepare(self, claims: int) -> None:
        """Provide enough emails for this many claims; beside a history they are few, new and fanned out."""
        if self.kind == HISTORY:
            workload.fill_directory(self._database)
            here = settings(self._servers.environment(self._database))
            workload.enqueue(here, self._database, emails=claims * BATCH)

    def once(self) -> Cost:
        """The cost of one claim and one record."""
        with self._database.begin() as connection:
            claim, jobs = _timed(connection, lambda: outbox.claim(connection, limit=BATCH, lease=LEASE, worker=WORKER))
        assert len(jobs) == BATCH
        answer = Answer(phase=Phase.FINAL_DOT, code=250, text="2.0.0 taken")
        rng = Random(1)
        endings = [AttemptOutcome(job=job, update=settle(Sent(answer=answer), job.claim, rng=rng)) for job in jobs]
        with self._database.begin() as connection:
            record, _ = _timed(connection, lambda: outbox.record(connection, endings, worker=WORKER))
        return Cost(claim, record)


def _timed(connection: Connection, work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds, and the result."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    server = driver.info.backend_pid
    began = _clock(server)
    result = work()
    return (_clock(server) - began) * 1e3, result


def _clock(server: int) -> float:
    """Seconds of processor time of this thread and of the server's process; else of the wall clock."""
    try:
        on_cpu = Path(f"/proc/{server}/schedstat").read_text(encoding="ascii").split()[0]
    except OSError:
        return perf_counter()
    return thread_time() + int(on_cpu) / 1e9
