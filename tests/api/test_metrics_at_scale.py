"""What a scrape costs beside a long history: it scans no large table."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection, text

from notify.api.metrics import OutboxCollector
from notify.domain.waves import wave
from notify.store.database import Database
from notify.store.operations.gauges import NEWEST, recently_ended
from notify.store.operations.migrate import upgrade
from notify.wiring import STAGE_NAMES
from tests.support import plans
from tests.support.plans import Plan, met, nodes, tables_scanned
from tests.support.servers import new_database
from tests.support.statements import Sent, statements

HISTORY = 30_000
DEAD = 100
WITHIN_THE_WINDOW = 10
LARGE = {"events", "email_jobs", "notifications", "people"}

FILL = """
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
    SELECT 'old-' || n, 'cl.comment.created', 'CL-1', 'dana', CASE WHEN n <= :dead THEN 'dead' ELSE 'done' END,
        now() - n * interval '1 minute'
    FROM generate_series(1, :history) AS n;
    INSERT INTO notify.email_jobs (username, to_email, topic, message_id, status, finished_at, outcome_reason)
    SELECT 'user-' || n, 'a@example.com', 'CL-1', 'old-' || n, CASE WHEN n <= :dead THEN 'dead' ELSE 'sent' END,
        now() - n * interval '1 minute', 'refused'
    FROM generate_series(1, :history) AS n;
    INSERT INTO notify.work_items (stage, id, lane, due_at, reason)
    SELECT 'fan_out', id, 9, finished_at, 'unknown_topic' FROM notify.events WHERE status = 'dead'
    UNION ALL SELECT 'deliver', id, 9, finished_at, 'refused' FROM notify.email_jobs WHERE status = 'dead';
    INSERT INTO notify.delivery_stats (minute, worker, event_type, outcome, count)
    SELECT date_trunc('minute', now()) - n * interval '1 minute', gen_random_uuid(), 'cl.comment.created', 'sent', 1
    FROM generate_series(1, :history) AS n;
    INSERT INTO notify.people (username, email)
    SELECT 'user-' || n, n || '@example.com' FROM generate_series(1, :history) AS n;
    INSERT INTO notify.email_jobs (username, to_email, topic, message_id)
    VALUES ('new', 'a@example.com', 'CL-1', 'new');
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT event.id, username, 'cl.comment.created', 'author', 'told', 'default', job.id
    FROM notify.email_jobs AS job, (SELECT min(id) AS id FROM notify.events) AS event;
    INSERT INTO notify.work_items (stage, id, lane)
    SELECT 'deliver', id, 1 FROM notify.email_jobs WHERE status = 'pending'
"""

ALL_DEAD_NOW = """
    INSERT INTO notify.work_items (stage, id, lane, due_at, reason)
    SELECT 'deliver', id, 9, now(), 'refused' FROM notify.email_jobs
    ON CONFLICT (stage, id) DO UPDATE SET lane = 9, due_at = now(), reason = 'refused'
"""
# Ten times as many were sent in the minute before, and half as many in this one.
SENT_BEFORE = """
    INSERT INTO notify.delivery_stats (minute, worker, event_type, outcome, count)
    SELECT date_trunc('minute', now()) - ago, gen_random_uuid(), 'cl.merged', outcome, count
    FROM (VALUES
        (interval '1 minute', 'sent', 10 * :newest), (interval '0', 'sent', :dead / 2), (interval '0', 'dead', :dead)
    ) AS counted(ago, outcome, count)
"""
DEAD_NOW = """
    INSERT INTO notify.work_items (stage, id, lane, due_at, reason)
    SELECT 'deliver', 1000000 + n, 9, now(), 'template_error' FROM generate_series(1, :dead) AS n
"""


def fill(connection: Connection) -> None:
    for statement in FILL.split(";"):
        connection.execute(text(statement), {"history": HISTORY, "dead": DEAD})
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module")
def aged(database_server: str) -> Iterator[Database]:
    """A database with a history, and one pending email."""
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


def asking(database: Database, session: Connection) -> list[Plan]:
    """The plans of the query for recently ended emails."""
    with statements(database) as sent:
        recently_ended(session)
    return [
        session.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {one.sql}", one.parameters).scalar_one()[0]["Plan"]
        for one in sent
    ]


def test_a_scrape_scans_no_large_table(aged: Database) -> None:
    with statements(aged) as sent:
        families = {one.name: one for one in OutboxCollector(aged).collect()}

    assert not {table for one in sent for table in tables_scanned(plan_of(aged, one))} & LARGE
    due = {one.labels["stage"]: one.value for one in families["notify_due"].samples}
    assert due == {**dict.fromkeys(STAGE_NAMES, 0), "deliver": 1}
    dead = {tuple(one.labels.values()): one.value for one in families["notify_dead_last_day"].samples}
    assert dead["fan_out", "unknown_topic"] == dead["deliver", "refused"] == DEAD


def test_a_scrape_reads_few_rows_of_the_history(aged: Database) -> None:
    with statements(aged) as sent:
        list(OutboxCollector(aged).collect())
    scans = [node for one in sent for node in nodes(plan_of(aged, one)) if node.get("Relation Name") in LARGE]
    assert sum(map(met, scans)) <= 3 * DEAD


def test_counting_recently_ended_emails_reads_only_two_indexes_beside_a_history(aged: Database) -> None:
    with aged.engine.connect() as session:
        asked = asking(aged, session)
        assert [plans.indexes_read(plan) for plan in asked] == [{"delivery_stats_pkey"}, {"work_items_due"}]
        assert sum(map(plans.rows_read, asked)) <= 3 * WITHIN_THE_WINDOW
        session.execute(text(ALL_DEAD_NOW))
        session.execute(text("ANALYZE notify.work_items"))
        assert sum(map(plans.rows_read, asking(aged, session))) <= 2 * NEWEST
        session.rollback()


@pytest.mark.parametrize(("dead", "is_seen"), [(NEWEST // 2, False), (NEWEST, True), (3 * NEWEST, True)])
def test_recently_dead_emails_are_counted_however_many_were_sent_before(
    aged: Database, dead: int, is_seen: bool
) -> None:
    with aged.engine.connect() as session:
        session.execute(text(SENT_BEFORE), {"dead": dead, "newest": NEWEST})
        session.execute(text(DEAD_NOW), {"dead": dead})
        found = wave(recently_ended(session))
        session.rollback()
    assert (found is not None and found.deaths.reason) == (is_seen and "template_error")
