"""
Inserts rows by the million directly into the tables, for which the front door is too slow.

The only module here that names the columns it writes.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from sqlalchemy import Column, Connection, Table, TextClause, delete, insert, select, text

from notify.store.database import Database
from notify.store.tables.emails import email_jobs, notifications, work_items
from tests.benchmarks.vacuum import vacuum

ROWS_AT_ONCE = 100_000
EVENTS_AT_ONCE = 2_000
OUTBOX = ("email_jobs", "notifications", "work_items")
OLD = ("events", "email_jobs", "notifications", "email_attempts", "work_items")

# The columns that fan-out writes, in the order of its tables; the rest have their defaults.
STATED: dict[Table, Sequence[Column[Any]]] = {
    table: [table.c[name] for name in names.split()]
    for table, names in {
        email_jobs: "id username to_email topic message_id expires_at deferred_by",
        work_items: "stage id lane due_at max_failures",
        notifications: "event_id username event_type reason decision why email_job_id",
    }.items()
}

EVENT = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
    VALUES ('bench', 'cl.comment.created', 'CL-1', 'bench-actor', 'done', now()) RETURNING id
""")
# Foreign keys are not checked during the load: the one event exists.
UNCHECKED = text("SET LOCAL session_replication_role = replica")
FINISHED = text("""
    WITH added AS (
        INSERT INTO notify.email_jobs (username, topic, to_email, message_id, status, attempts, finished_at, created_at)
        SELECT 'old-' || n, 'CL-' || n % 1000, 'a@example.com', 'old-' || n, 'sent', 1, at, at
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n,
            LATERAL (SELECT now() - n * interval '10 ms' AS at) AS ended
        RETURNING id, username
    )
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT :event, username, 'cl.comment.created', 'author', 'told', 'default', id FROM added
""")
WAITING = text("""
    WITH added AS (
        INSERT INTO notify.email_jobs (username, topic, to_email, message_id)
        SELECT 'new-' || n, 'CL-' || n % 1000, 'a@example.com', 'new-' || n
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
        RETURNING id, username
    ), told AS (
        INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
        SELECT :event, username, 'cl.comment.created', 'author', 'told', 'default', id FROM added
    )
    INSERT INTO notify.work_items (stage, id, lane, max_failures, due_at)
    SELECT 'deliver', id, 1, 12, now() - interval '1 hour' + id * interval '1 microsecond' FROM added
""")

NO_LIMIT = text("SET LOCAL statement_timeout = 0")
OLD_EVENTS = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at, created_at, payload)
    SELECT 'old-' || n, 'cl.comment.created', 'CL-' || n % 10000, 'bench-actor', 'done', old.at, old.at,
        jsonb_build_object('comment', jsonb_build_object('id', n::text, 'body', repeat('The jitter comes first. ', 10)))
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n,
        LATERAL (SELECT now() - interval '60 days' + n * interval '1 second' AS at) AS old
    RETURNING id
""")
# One in a hundred emails is dead, which stays with its event; one in ten was retried before it was sent.
OLD_EMAILS = text("""
    WITH added AS (
        INSERT INTO notify.email_jobs (username, topic, to_email, message_id, status, attempts, outcome_reason,
            relay_reply, finished_at, created_at)
        SELECT 'old-' || n, e.topic, 'old@example.com', e.id || '.' || n || '@bench',
            CASE WHEN e.id % 100 = 0 THEN 'dead' ELSE 'sent' END, 1, CASE WHEN e.id % 100 = 0 THEN 'refused' END,
            '2.0.0 Ok: queued as 4XyZ', e.finished_at + n * interval '1 millisecond', e.created_at
        FROM notify.events AS e, generate_series(1, CAST(:audience AS int)) AS n
        WHERE e.id BETWEEN :first AND :last ORDER BY e.id, n
        RETURNING id, username, message_id
    )
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT split_part(message_id, '.', 1)::bigint, username, 'cl.comment.created', 'reviewer', 'told', 'default', id
    FROM added
""")
OLD_ATTEMPTS = text("""
    INSERT INTO notify.email_attempts (job_id, attempt, at, phase, code, text, outcome, relay)
    SELECT email_job_id, 1, now(), 'rcpt', 451, '4.7.1 come back later', 'retry: later', 'relay:25'
    FROM notify.notifications WHERE event_id BETWEEN :first AND :last AND id % 10 = 0
""")


class Bulk:
    """Emails about one event, in a database of their own, numbered from 1."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.begin() as connection:
            self._event: int = connection.execute(EVENT).scalar_one()

    def finish(self, first: int, last: int) -> None:
        """Insert sent emails."""
        self._load(FINISHED, first, last)

    def wait(self, first: int, last: int) -> None:
        """Insert due emails."""
        self._load(WAITING, first, last)

    def _load(self, statement: TextClause, first: int, last: int) -> None:
        """In chunks, because a connection that is silent for long is closed. Then vacuum, as autovacuum would."""
        for start in range(first, last + 1, ROWS_AT_ONCE):
            with self._database.begin() as connection:
                connection.execute(UNCHECKED)
                piece = {"first": start, "last": min(start + ROWS_AT_ONCE - 1, last)}
                connection.execute(statement, {"event": self._event, **piece})
        vacuum(self._database, *OUTBOX)


def age(database: Database, rows: int, *, audience: int) -> None:
    """Load this many old emails, with events and attempts, and vacuum, as autovacuum would."""
    events = rows // audience
    for first in range(1, events + 1, EVENTS_AT_ONCE):
        with database.begin() as connection:
            connection.execute(NO_LIMIT)
            last = min(first + EVENTS_AT_ONCE - 1, events)
            ids = connection.scalars(OLD_EVENTS, {"first": first, "last": last}).all()
            about = {"first": min(ids), "last": max(ids)}
            connection.execute(OLD_EMAILS, {**about, "audience": audience})
            connection.execute(OLD_ATTEMPTS, about)
    vacuum(database, *OLD)


def seconds_to_insert_again(database: Database) -> float:
    """Delete what fan-out has written; the time to insert it again, as lists, in one transaction."""
    with database.begin() as connection:
        written = {table: _all(connection, table) for table in STATED}
        for table in (notifications, email_jobs, work_items):
            connection.execute(delete(table))
    jobs, was = written[email_jobs], [job.pop("id") for job in written[email_jobs]]
    began = perf_counter()
    with database.begin() as connection:
        numbered = insert(email_jobs).returning(email_jobs.c.id, sort_by_parameter_order=True)
        ids = connection.scalars(numbered, jobs).all()
        now = {None: None, **dict(zip(was, ids, strict=True))}
        items = [{**item, "id": now[item["id"]]} for item in written[work_items]]
        told = [{**one, "email_job_id": now[one["email_job_id"]]} for one in written[notifications]]
        connection.execute(insert(work_items), items)
        connection.execute(insert(notifications), told)
    return perf_counter() - began


def _all(connection: Connection, table: Table) -> list[dict[str, Any]]:
    query = select(*STATED[table])
    return [dict(row) for row in connection.execute(query).mappings()]
