"""What pruning reads to delete a batch beside many rows that stay."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import Connection, delete, select, text

from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.operations.migrate import upgrade
from notify.store.tables.emails import email_jobs, notifications
from tests.support.plans import indexes_read, plan_of, read_end_to_end, rows_read, tables_scanned
from tests.support.servers import new_database

LIMIT = 50
# What a batch of fifty reads: the fifty, their entries in each index, and a page's worth of neighbours.
MOST_ROWS = 8 * LIMIT
KEPT = RetentionPeriods()
EVENTS = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, created_at, finished_at)
    SELECT 'e' || n, 'cl.comment.created', 'CL-' || n % 100, 'dana', 'done', at, at
    FROM generate_series(1, 2000) AS n, LATERAL (
        SELECT now() - interval '20 days' + n * interval '1 minute' AS at
    ) AS ended
""")
# Of each event's ten emails, one is dead and stays.
EMAILS = text("""
    INSERT INTO notify.email_jobs (
        username, topic, to_email, message_id, status, outcome_reason, created_at, finished_at
    )
    SELECT 'u' || n, e.topic, 'u@example.com', e.id || '.' || n, CASE n WHEN 1 THEN 'dead' ELSE 'sent' END, 'test',
        e.finished_at, e.finished_at + n * interval '1 second'
    FROM notify.events AS e, generate_series(1, 10) AS n ORDER BY e.id, n
""")
TOLD = text("""
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT split_part(message_id, '.', 1)::bigint, username, 'cl.comment.created', 'author', 'told', 'default', id
    FROM notify.email_jobs
""")
# Other rows are pending, far more than any batch.
BACKLOG = text("""
    INSERT INTO notify.work_items (stage, id, lane, due_at)
    SELECT 'fan_out', 1000000 + n, 1, now() + interval '1 hour' FROM generate_series(1, 20000) AS n
""")
TRIED = text("""
    INSERT INTO notify.email_attempts (job_id, attempt, outcome)
    SELECT id, 1, 'retry: later' FROM notify.email_jobs WHERE id % 3 = 0
""")


@pytest.fixture(scope="module")
def history_url(database_server: str) -> Iterator[str]:
    """A database with twenty thousand emails that ended long ago."""
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url)) as opened, opened.begin() as connection:
            for statement in (EVENTS, EMAILS, TOLD, TRIED, BACKLOG):
                connection.execute(statement)
            connection.execute(text("ANALYZE"))
        yield url


@pytest.fixture
def history(history_url: str) -> Iterator[Database]:
    with closing(Database(history_url)) as opened:
        yield opened


@pytest.fixture
def session(history: Database) -> Iterator[Connection]:
    """A transaction that is rolled back at the end."""
    with history.engine.connect() as connection:
        yield connection


def test_a_batch_of_emails_reads_little_more_than_it_deletes(history: Database, session: Connection) -> None:
    plan = plan_of(history, session, partial(upkeep.prune_jobs, session, KEPT, limit=LIMIT))
    assert {"email_jobs_pkey", "email_jobs_replays"} <= indexes_read(plan)
    assert tables_scanned(plan) == set()
    assert rows_read(plan) <= MOST_ROWS


def test_a_later_batch_does_not_read_again_what_stays(history: Database, session: Connection) -> None:
    batch = partial(upkeep.prune_jobs, session, KEPT, limit=LIMIT, after=15_000)
    assert rows_read(plan_of(history, session, batch)) <= MOST_ROWS


def test_a_batch_of_events_looks_up_the_emails_of_each_by_index(history: Database, session: Connection) -> None:
    plan = plan_of(history, session, partial(upkeep.prune_events, session, KEPT, limit=LIMIT))
    assert {"events_pkey", "notifications_once"} <= indexes_read(plan)
    assert tables_scanned(plan) == set()
    assert rows_read(plan) <= MOST_ROWS


def test_deleting_emails_and_events_scans_no_table_sequentially(history: Database) -> None:
    with history.engine.connect() as session:
        assert read_end_to_end(session) == set()
        assert upkeep.prune_jobs(session, KEPT, limit=LIMIT).deleted > LIMIT / 2
        told = select(notifications.c.email_job_id).where(notifications.c.event_id <= 10)
        session.execute(delete(email_jobs).where(email_jobs.c.id.in_(told)))
        assert upkeep.prune_events(session, KEPT, limit=LIMIT).deleted == 10
        assert read_end_to_end(session) == set()


@pytest.mark.parametrize("table", ["events", "email_jobs"])
def test_every_foreign_key_to_a_pruned_table_has_an_index(session: Connection, table: str) -> None:
    pointing = session.execute(
        text("""
            SELECT conrelid::regclass::text AS table, EXISTS (
                SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1]
            ) AS indexed
            FROM pg_constraint WHERE contype = 'f' AND confrelid = ('notify.' || :table)::regclass
        """),
        {"table": table},
    ).all()
    assert pointing
    assert all(row.indexed for row in pointing)
