"""How much slower letters leave while millions of old rows are deleted beside them, and how long that takes."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import attrgetter
from threading import Thread
from time import perf_counter

from sqlalchemy import text

from notify.delivery.retention import Pruning
from notify.domain.errors import NotifyError
from notify.domain.retention import Kept
from notify.store.database import Database
from tests.benchmarks.bench import Bench
from tests.benchmarks.drained import Drained, drained_from
from tests.benchmarks.rows import Row, at_least
from tests.benchmarks.sink import Sink, sink
from tests.benchmarks.tidy import vacuum
from tests.benchmarks.workload import AUDIENCE

KEPT = Kept()
EVENTS_AT_ONCE = 2_000
NO_LIMIT = text("SET LOCAL statement_timeout = 0")
EVENTS = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at, created_at, payload)
    SELECT 'old-' || n, 'cl.comment.created', 'CL-' || n % 10000, 'bench-actor', 'done', old.at, old.at,
        jsonb_build_object('comment', jsonb_build_object('id', n::text, 'body', repeat('The jitter comes first. ', 10)))
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n,
        LATERAL (SELECT now() - interval '60 days' + n * interval '1 second' AS at) AS old
    RETURNING id
""")
# One of a hundred letters is dead, which stays, and with it its event; one of ten was tried before it was sent.
LETTERS = text("""
    WITH written AS (
        INSERT INTO notify.email_jobs (topic, username, to_email, message_id, status,
            attempts, outcome_reason, relay_reply, finished_at, created_at)
        SELECT e.topic, 'old-' || n, 'old@example.com', e.id || '.' || n || '@bench',
            CASE WHEN e.id % 100 = 0 THEN 'dead' ELSE 'sent' END, 1, CASE WHEN e.id % 100 = 0 THEN 'refused' END,
            '2.0.0 Ok: queued as 4XyZ', e.finished_at + n * interval '1 millisecond', e.created_at
        FROM notify.events AS e, generate_series(1, CAST(:audience AS int)) AS n
        WHERE e.id BETWEEN :first AND :last
        RETURNING id, username, split_part(message_id, '.', 1)::bigint AS event_id
    )
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT event_id, username, 'cl.comment.created', 'reviewer', 'told', 'default', id FROM written
""")
TRIES = text("""
    INSERT INTO notify.email_attempts (job_id, attempt, at, phase, code, text, verdict, relay)
    SELECT id, 1, finished_at, 'rcpt', 451, '4.7.1 come back later', 'retry: later', 'relay:25'
    FROM notify.email_jobs WHERE id % 10 = 0
        AND id IN (SELECT email_job_id FROM notify.notifications WHERE event_id BETWEEN :first AND :last)
""")


class NothingLeft(NotifyError):
    """Upkeep was done before the letters were: what was measured is not a drain beside it."""


def measure(bench: Bench) -> Iterator[Row]:
    """The rate of a drain beside upkeep, beside that of the same drain without; then the rate of upkeep alone."""
    rows = bench.scale.pruned_rows
    with bench.place.database() as database, sink(bench.place.folder) as near:
        _age(database, rows)
        alone, beside, pruned = _drains(bench, database, near)
        yield Row(
            what=f"letters out while {rows:,} old ones are deleted",
            unit="letters/s",
            figure=beside.rate,
            beside="without",
            other=alone.rate,
            goal=at_least(0.85),
            note=f"{pruned:,} went meanwhile",
        )
        began = perf_counter()
        rest = Pruning(database, KEPT).run()
        seconds = perf_counter() - began
        gone = rest.jobs + rest.events
        yield Row(what="old letters and events deleted, nothing due", unit="rows/s", figure=gone / seconds)


def _drains(bench: Bench, database: Database, near: Sink) -> tuple[Drained, Drained, int]:
    """The fastest of a few drains without and with upkeep, in turns; and how many letters upkeep deleted meanwhile."""
    alone, beside, pruned = [], [], 0
    letters = bench.scale.letters
    for _ in range(bench.scale.repeats):
        alone.append(drained_from(database, bench.place, near, letters=letters))
        work = _Upkeep(database.url)
        beside.append(drained_from(database, bench.place, near, letters=letters, beside=work.going_on))
        pruned += work.pruning.pruned.jobs
    return max(alone, key=attrgetter("rate")), max(beside, key=attrgetter("rate")), pruned


class _Upkeep:
    """A run of upkeep beside whatever else goes on."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.pruning = Pruning(self._database, KEPT)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """
        At work while the block runs.

        Raises:
            NothingLeft: It was done before the block was.
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


def _age(database: Database, rows: int) -> None:
    """Load so many old letters, with events and tries, and do to the tables what autovacuum would."""
    events = rows // AUDIENCE
    for first in range(1, events + 1, EVENTS_AT_ONCE):
        with database.begin() as connection:
            connection.execute(NO_LIMIT)
            last = min(first + EVENTS_AT_ONCE - 1, events)
            ids = connection.scalars(EVENTS, {"first": first, "last": last}).all()
            about = {"first": min(ids), "last": max(ids)}
            connection.execute(LETTERS, {**about, "audience": AUDIENCE})
            connection.execute(TRIES, about)
    vacuum(database, "events", "email_jobs", "notifications", "email_attempts", "work_items")
