"""Claim and record of fifty letters beside ten thousand to millions of rows, finished or waiting."""

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
from sqlalchemy import Connection, TextClause, text

from notify.domain.outcomes import Answer, Phase, Sent
from notify.domain.settlement import settle
from notify.store import outbox
from notify.store.database import Database
from notify.store.outbox import Ending
from tests.benchmarks.bench import Bench
from tests.benchmarks.place import cache
from tests.benchmarks.rows import Goal, Row, at_most
from tests.benchmarks.tidy import vacuum

T = TypeVar("T")

BATCH = 50
ROWS_AT_ONCE = 100_000
LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)
HISTORY, BACKLOG = "history", "backlog"
EVENT = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
    VALUES ('bench', 'cl.comment.created', 'CL-1', 'bench-actor', 'done', now()) RETURNING id
""")
# Foreign keys are not checked meanwhile: the one event exists.
UNCHECKED = text("SET LOCAL session_replication_role = replica")
FINISHED = text("""
    WITH added AS (
        INSERT INTO notify.email_jobs (topic, username, to_email, message_id, status, attempts, finished_at, created_at)
        SELECT 'CL-' || n % 1000, 'old-' || n, 'a@example.com', 'old-' || n,
            'sent', 1, now() - n * interval '10 ms', now() - n * interval '10 ms'
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
        RETURNING id, username
    )
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT :event, username, 'cl.comment.created', 'author', 'told', 'default', id FROM added
""")
WAITING = text("""
    WITH added AS (
        INSERT INTO notify.email_jobs (topic, username, to_email, message_id)
        SELECT 'CL-' || n % 1000, 'new-' || n, 'a@example.com', 'new-' || n
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
        RETURNING id, username
    ), told AS (
        INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
        SELECT :event, username, 'cl.comment.created', 'author', 'told', 'default', id FROM added
    )
    INSERT INTO notify.work_items (stage, id, lane, max_failures, due_at)
    SELECT 'deliver', id, 1, 12, now() - interval '1 hour' + id * interval '1 microsecond' FROM added
""")


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Medians in milliseconds of processor time, the client's and the server's, which neighbours disturb least.

    Without the commit, which costs the same however many rows there are.
    """

    claim: float
    record: float


def measure(bench: Bench) -> Iterator[Row]:
    """Claim and record at each size, each size beside the smallest, by turns: a machine that slows down slows both."""
    for kind in (HISTORY, BACKLOG):
        with bench.place.database() as database:
            yield from _grown(_Outbox(database, kind), bench)


def _grown(large: "_Outbox", bench: Bench) -> Iterator[Row]:
    scale, kind = bench.scale, large.kind
    smallest, *sizes = scale.outbox_rows
    for size in sizes:
        large.grow(size)
        with bench.place.database() as database:
            small = _Outbox(database, kind)
            small.grow(smallest)
            beside, cost = _by_turns(small, large, scale.claims)
        if size == sizes[0]:
            yield from _rows(cost=beside, where=f"at {smallest:,} rows of {kind}")
        yield from _rows(
            cost=cost,
            where=f"at {size:,} rows of {kind}",
            beside=f"at {smallest:,} rows",
            other=beside,
            goal=at_most(1.25) if size == sizes[-1] else None,
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
    """What either costs, claim after claim."""
    for one in (small, large):
        one.prepare(claims + 1)
    times = [(small.once(), large.once()) for _ in range(claims + 1)][1:]  # the first prepares the statements
    return _median([one for one, _ in times]), _median([one for _, one in times])


def _median(times: Sequence[Cost]) -> Cost:
    return Cost(median(one.claim for one in times), median(one.record for one in times))


class _Outbox:
    """An outbox that is made to grow by finished letters, or by letters that wait."""

    def __init__(self, database: Database, kind: str) -> None:
        self.kind = kind
        self._database = database
        self._rows = 0
        self._extra = 0
        with database.begin() as connection:
            self._event: int = connection.execute(EVENT).scalar_one()

    def grow(self, rows: int) -> None:
        """Load up to so many rows at once, and do to the table what autovacuum would."""
        self._load(FINISHED if self.kind == HISTORY else WAITING, self._rows + 1, rows)
        self._rows = rows
        vacuum(self._database, "email_jobs", "notifications", "work_items")

    def prepare(self, claims: int) -> None:
        """Have enough to claim so often; beside a history the letters to claim are few and new."""
        if self.kind == HISTORY:
            self._load(WAITING, self._extra + 1, self._extra + claims * BATCH)
            self._extra += claims * BATCH

    def once(self) -> Cost:
        """What one claim and one record cost."""
        with self._database.begin() as connection:
            claim, jobs = _timed(connection, lambda: outbox.claim(connection, limit=BATCH, lease=LEASE, worker=WORKER))
        assert len(jobs) == BATCH
        answer = Answer(phase=Phase.FINAL_DOT, code=250, text="2.0.0 taken")
        rng = Random(1)
        endings = [Ending(job=job, settlement=settle(Sent(answer=answer), job.claim, rng=rng)) for job in jobs]
        with self._database.begin() as connection:
            record, _ = _timed(connection, lambda: outbox.record(connection, endings, worker=WORKER))
        return Cost(claim, record)

    def _load(self, statement: TextClause, first: int, last: int) -> None:
        """In pieces: a connection that is silent for long is given up."""
        for start in range(first, last + 1, ROWS_AT_ONCE):
            with self._database.begin() as connection:
                connection.execute(UNCHECKED)
                piece = {"first": start, "last": min(start + ROWS_AT_ONCE - 1, last)}
                connection.execute(statement, {"event": self._event, **piece})


def _timed(connection: Connection, work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds, and the result."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    server = driver.info.backend_pid
    began = _clock(server)
    result = work()
    return (_clock(server) - began) * 1e3, result


def _clock(server: int) -> float:
    """Seconds of processor time of this thread and of the server's process; else of the wall."""
    try:
        on_cpu = Path(f"/proc/{server}/schedstat").read_text(encoding="ascii").split()[0]
    except OSError:
        return perf_counter()
    return thread_time() + int(on_cpu) / 1e9
