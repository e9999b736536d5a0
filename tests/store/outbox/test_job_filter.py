"""Which emails a filter finds, and what the search costs."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text

from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from notify.store.outbox import jobs
from notify.store.outbox.job_filter import JobFilter, first_id_after, first_id_since
from notify.store.outbox.jobs import MOST_SCANNED
from tests.support import rows
from tests.support.plans import plan_of, rows_read, tables_scanned
from tests.support.servers import new_database

MANY = MOST_SCANNED + 10_000
NEWEST = datetime(2026, 1, 31, tzinfo=UTC)
LIMIT = 10
# Ten rows, their entries, and the rest of a page of an index.
FEW = 100 * LIMIT
EVENTS = text("""
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
    SELECT 'e' || n, 'cl.comment.created', 'CL-' || n, 'dana', 'done', now()
    FROM generate_series(0, :many / 10) AS n
""")
EMAILS = text("""
    INSERT INTO notify.email_jobs (username, topic, to_email, message_id, status, finished_at, created_at,
        outcome_reason, relay_reply)
    SELECT 'u' || n, 'CL-' || n / 10, 'u@example.com', 'm' || n, CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'sent' END,
        CAST(:newest AS timestamptz),
        CAST(:newest AS timestamptz) - (:many - n) * interval '1 second', CASE WHEN n % 1000 = 0 THEN 'refused' END,
        '2.0.0 Ok: queued as Q' || n || 'X'
    FROM generate_series(1, :many) AS n
""")
TOLD = text("""
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT (SELECT min(id) FROM notify.events) + n / 10, 'u' || n, 'cl.comment.created', 'author', 'told', 'default', n
    FROM generate_series(1, :many) AS n
""")
DEAD = text("""
    INSERT INTO notify.work_items (stage, id, lane, reason)
    SELECT 'deliver', id, 9, 'refused' FROM notify.email_jobs WHERE status = 'dead'
""")


@pytest.fixture(scope="module")
def history(database_server: str) -> Iterator[Database]:
    """A hundred and ten thousand emails, one a second, the first of a thousand dead; read only."""
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url)) as opened:
            with opened.begin() as connection:
                connection.execute(EVENTS, {"many": MANY})
                connection.execute(EMAILS, {"many": MANY, "newest": NEWEST})
                connection.execute(TOLD, {"many": MANY})
                connection.execute(DEAD)
                connection.execute(text("ANALYZE"))
            yield opened


@pytest.fixture
def session(history: Database) -> Iterator[Connection]:
    with history.engine.connect() as connection:
        yield connection


def found(session: Connection, job_filter: JobFilter) -> list[str | None]:
    """The Message-IDs of all matches, however many pages that takes."""
    below, emails = None, list[str | None]()
    for _ in range(10):
        page = jobs.page(session, job_filter, below=below, limit=LIMIT)
        emails += [one.message_id for one in page.jobs]
        below = page.below
        if below is None:
            return emails
    raise AssertionError(emails)


@pytest.mark.parametrize(
    ("asked", "emails"),
    [
        ({"username": "u7"}, ["m7"]),
        ({"message_id": "m7"}, ["m7"]),
        ({"queue_id": "Q7X"}, ["m7"]),
        ({"queue_id": "queued as Q109999X"}, ["m109999"]),
        ({"queue_id": "Q7_"}, []),
        ({"to_email": "nobody@example.com"}, []),
        ({"topic": "CL-1", "queue_id": "Q12X"}, ["m12"]),
        ({"status": "dead", "topic": "CL-100"}, ["m1000"]),
        ({"outcome_reason": "refused", "created_before": NEWEST - timedelta(seconds=MANY - 2001)}, ["m2000", "m1000"]),
        ({"created_from": NEWEST - timedelta(seconds=1)}, ["m110000", "m109999"]),
        ({"created_before": NEWEST - timedelta(seconds=MANY - 3)}, ["m2", "m1"]),
        ({"status": "pending"}, []),
    ],
    ids=str,
)
def test_each_filter_finds_its_emails(session: Connection, asked: dict[str, Any], emails: list[str]) -> None:
    assert found(session, JobFilter(**asked)) == emails


@pytest.mark.parametrize(
    "asked",
    [
        {"username": "u7"},
        {"topic": "CL-7"},
        {"message_id": "m7"},
        {"event_key": "e7"},
        {"status": "pending"},
        {"status": "sending", "outcome_reason": "later"},
        {},
        {"status": "sent"},
    ],
    ids=str,
)
def test_a_filter_with_an_index_reads_little_more_than_it_finds(
    history: Database, session: Connection, asked: dict[str, Any]
) -> None:
    plan = plan_of(history, session, partial(jobs.matching, session, JobFilter(**asked), limit=LIMIT))
    assert "email_jobs" not in tables_scanned(plan)
    assert rows_read(plan) <= FEW


def test_a_filter_without_an_index_searches_a_bounded_number_of_emails_at_a_time(
    history: Database, session: Connection
) -> None:
    job_filter = JobFilter(queue_id="nowhere")
    first = jobs.page(session, job_filter, limit=LIMIT)
    assert (first.jobs, first.below) == ([], MANY + 1 - MOST_SCANNED)
    look = partial(jobs.matching, session, job_filter, before_id=MANY + 1, from_id=MANY + 1 - MOST_SCANNED, limit=LIMIT)
    assert rows_read(plan_of(history, session, look)) <= MOST_SCANNED + FEW


@pytest.mark.parametrize("n", [1, 100_000, MANY])
def test_a_time_range_is_found_by_a_range_of_ids(session: Connection, n: int) -> None:
    written = NEWEST - timedelta(seconds=MANY - n)
    slack = int(timedelta(hours=1).total_seconds())
    assert first_id_since(session, written) == max(1, n - slack)
    assert first_id_after(session, written) == min(MANY + 1, n + slack)


def test_a_filter_without_matches_finds_nothing(database: Database) -> None:
    with database.begin() as connection:
        for job_filter in (JobFilter(), JobFilter(queue_id="x"), JobFilter(created_from=NEWEST, created_before=NEWEST)):
            assert jobs.page(connection, job_filter, limit=LIMIT) == jobs.JobPage([], None)


def test_a_person_an_event_and_a_topic_also_find_replays(database: Database) -> None:
    with database.begin() as connection:
        original = rows.job(connection, topic="CL-7", **rows.ended("sent"))
        event_id = rows.event(connection, key="k1", topic="CL-7", **rows.ended("done"))
        rows.notification(connection, event_id=event_id, email_job_id=original)
        replay = rows.job(connection, replay_of=original)
        rows.job(connection, username="bob")
        for job_filter in (JobFilter(username="alice"), JobFilter(event_key="k1"), JobFilter(topic="CL-7")):
            page = jobs.page(connection, job_filter, limit=LIMIT)
            assert [(one.id, one.notification_count) for one in page.jobs] == [(replay, 2), (original, 2)]


def test_pages_of_an_indexed_search_are_full_while_there_are_more(database: Database) -> None:
    with database.begin() as connection:
        there = [rows.job(connection) for _ in range(5)]
        first = jobs.page(connection, JobFilter(username="alice"), limit=3)
        second = jobs.page(connection, JobFilter(username="alice"), below=first.below, limit=3)
    assert [one.id for one in (*first.jobs, *second.jobs)] == there[::-1]
    assert (first.below, second.below) == (there[2], None)
