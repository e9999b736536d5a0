"""What a reading costs beside a history: no statement of it reads a table from end to end."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection, text

from notify.api.metrics import OutboxCollector
from notify.store.database import Database
from notify.store.gauges import NEWEST, ended_of_late
from notify.store.migrate import upgrade
from tests.support import plans
from tests.support.plans import Plan, met, nodes, tables_scanned
from tests.support.servers import new_database
from tests.support.statements import Sent, statements

HISTORY = 30_000
DEAD = 100
WITHIN_THE_WINDOW = 10
LARGE = {"events", "email_jobs", "people"}

FILL = """
    INSERT INTO notify.events (key, type, cl_link, actor, status, finished_at)
    SELECT 'old-' || n, 'cl.comment.created', 'CL-1', 'dana', CASE WHEN n <= :dead THEN 'dead' ELSE 'done' END,
        now() - n * interval '1 minute'
    FROM generate_series(1, :history) AS n;
    INSERT INTO notify.email_jobs
        (event_id, event_type, cl_link, username, to_email, reason, message_id, status, finished_at, outcome_reason)
    SELECT event.id, 'cl.comment.created', 'CL-1', 'user-' || n, 'a@example.com', 'author', 'old-' || n,
        CASE WHEN n <= :dead THEN 'dead' ELSE 'sent' END, now() - n * interval '1 minute', 'refused'
    FROM generate_series(1, :history) AS n, (SELECT min(id) AS id FROM notify.events) AS event;
    INSERT INTO notify.work_items (stage, id, lane, due_at, reason)
    SELECT 'fan_out', id, 9, finished_at, 'unknown_cl' FROM notify.events WHERE status = 'dead'
    UNION ALL SELECT 'deliver', id, 9, finished_at, 'refused' FROM notify.email_jobs WHERE status = 'dead';
    INSERT INTO notify.people (username, email)
    SELECT 'user-' || n, n || '@example.com' FROM generate_series(1, :history) AS n;
    INSERT INTO notify.email_jobs (event_id, event_type, cl_link, username, to_email, reason, message_id)
    SELECT min(id), 'cl.comment.created', 'CL-1', 'new', 'a@example.com', 'author', 'new' FROM notify.events;
    INSERT INTO notify.work_items (stage, id, lane)
    SELECT 'deliver', id, 1 FROM notify.email_jobs WHERE status = 'pending'
"""


def fill(connection: Connection) -> None:
    for statement in FILL.split(";"):
        connection.execute(text(statement), {"history": HISTORY, "dead": DEAD})
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module")
def aged(database_server: str) -> Iterator[Database]:
    """A database with a history, and one letter that waits."""
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url)) as database:
            with database.begin() as connection:
                fill(connection)
            yield database


def plan_of(database: Database, sent: Sent) -> Plan:
    with database.begin() as connection:
        plan: Plan = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {sent.sql}", sent.parameters
        ).scalar_one()[0]["Plan"]
        return plan


def test_a_reading_reads_no_large_table_from_end_to_end(aged: Database) -> None:
    with statements(aged) as sent:
        families = {one.name: one for one in OutboxCollector(aged).collect()}

    assert not {table for one in sent for table in tables_scanned(plan_of(aged, one))} & LARGE
    assert [one.value for one in families["notify_due"].samples] == [0, 1]
    dead = {tuple(one.labels.values()): one.value for one in families["notify_dead_last_day"].samples}
    assert dead["fan_out", "unknown_cl"] == dead["deliver", "refused"] == DEAD


def test_a_reading_meets_few_rows_of_the_history(aged: Database) -> None:
    with statements(aged) as sent:
        list(OutboxCollector(aged).collect())
    scans = [node for one in sent for node in nodes(plan_of(aged, one)) if node.get("Relation Name") in LARGE]
    assert sum(map(met, scans)) <= 3 * DEAD


def test_asking_what_ended_of_late_reads_one_index_and_no_more_of_it_beside_a_history(aged: Database) -> None:
    with aged.engine.connect() as session:
        plan = plans.plan_of(aged, session, lambda: ended_of_late(session))
        assert plans.indexes_read(plan) == {"email_jobs_finished"}
        assert plans.rows_read(plan) <= WITHIN_THE_WINDOW
        session.execute(text("UPDATE notify.email_jobs SET finished_at = now() WHERE finished_at IS NOT NULL"))
        assert plans.rows_read(plans.plan_of(aged, session, lambda: ended_of_late(session))) <= 2 * NEWEST
        session.rollback()
