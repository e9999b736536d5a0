"""What pruning deletes, and what it leaves alone."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, literal, select

from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.operations.upkeep import Batch
from notify.store.outbox.retry_cancel_replay import Action, act_on
from notify.store.tables.emails import email_attempts, email_jobs, events, notifications
from notify.store.tables.operations import delivery_stats
from tests.support import rows
from tests.support.wait import until

A_MINUTE = timedelta(minutes=1)
KEPT = RetentionPeriods()


def put(database: Database, **columns: Any) -> int:
    with database.begin() as connection:
        return rows.job(connection, **columns)


def old(status: str, *, age: timedelta) -> dict[str, Any]:
    return rows.ended(status, at=rows.ago(seconds=age.total_seconds()))


def prune_jobs(database: Database, *, limit: int = 100) -> int:
    with database.begin() as connection:
        return upkeep.prune_jobs(connection, KEPT, limit=limit).deleted


def prune_events(database: Database, *, limit: int = 100) -> int:
    with database.begin() as connection:
        return upkeep.prune_events(connection, KEPT, limit=limit).deleted


@pytest.mark.parametrize("status", KEPT.emails)
@pytest.mark.parametrize(("beyond", "gone"), [(A_MINUTE, 1), (-A_MINUTE, 0)], ids=["old", "young"])
def test_an_email_is_deleted_when_it_ended_long_enough_ago(
    database: Database, status: str, beyond: timedelta, gone: int
) -> None:
    put(database, **old(status, age=KEPT.emails[status] + beyond))
    assert prune_jobs(database) == gone
    assert rows.count_of(database, email_jobs) == 1 - gone


@pytest.mark.parametrize("status", ["pending", "sending"])
def test_an_unfinished_email_stays_however_old_it_is(database: Database, status: str) -> None:
    put(database, status=status, created_at=rows.ago(days=400), due_at=rows.ago(days=400))
    assert prune_jobs(database) == 0


def test_every_final_status_of_emails_and_events_has_a_retention_period() -> None:
    assert set(KEPT.emails) == set(rows.FINAL_JOB)
    assert set(KEPT.events) == set(rows.FINAL_EVENT)


def test_the_attempts_of_an_email_are_deleted_with_it_and_no_others(database: Database) -> None:
    gone, stays = put(database, **old("dead", age=timedelta(days=91))), put(database)
    with database.begin() as connection:
        for job_id in (gone, stays):
            connection.execute(insert(email_attempts).values(job_id=job_id, attempt=1, outcome="retry: later"))
    prune_jobs(database)
    with database.begin() as connection:
        assert connection.scalars(select(email_attempts.c.job_id)).all() == [stays]


@pytest.mark.parametrize("replays", [1, 2, 3])
def test_an_email_stays_until_its_last_replay_is_deleted(database: Database, replays: int) -> None:
    original = put(database, **old("sent", age=timedelta(days=50)))
    written = [replay(database, original) for _ in range(replays)]
    assert prune_jobs(database) == 0
    for job_id in written:
        rows.change(database, email_jobs, job_id, created_at=rows.ago(days=20), finished_at=rows.ago(days=20))
    gone = 0
    while found := prune_jobs(database):
        gone += found
    assert gone == 1 + replays


def replay(database: Database, original: int) -> int:
    """Insert a replay that was just sent."""
    with database.begin() as connection:
        written = act_on(connection, Action.REPLAY, original)
    assert written is not None
    rows.end_job(database, written, "sent")
    return written


@pytest.mark.parametrize("status", KEPT.events)
@pytest.mark.parametrize(("beyond", "gone"), [(A_MINUTE, 1), (-A_MINUTE, 0)], ids=["old", "young"])
def test_an_event_without_emails_is_deleted_when_it_ended_long_enough_ago(
    database: Database, status: str, beyond: timedelta, gone: int
) -> None:
    with database.begin() as connection:
        rows.event(connection, **old(status, age=KEPT.events[status] + beyond))
    assert prune_events(database) == gone


def test_an_event_stays_as_long_as_any_of_its_emails(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **old("done", age=timedelta(days=400)))
    job = put(database, event_id=event_id, created_at=rows.ago(days=100))
    assert prune_events(database) == 0
    rows.end_job(database, job, "sent", finished_at=rows.ago(days=100))
    assert prune_events(database) == 0
    assert prune_jobs(database) == 1
    assert prune_events(database) == 1


def test_a_batch_reads_no_more_rows_than_its_limit(database: Database) -> None:
    there = [put(database, **old("sent", age=timedelta(days=age))) for age in (60, 50, 40, 30)]
    assert prune_jobs(database, limit=2) == 2
    with database.begin() as connection:
        assert connection.scalars(select(email_jobs.c.id).order_by(email_jobs.c.id)).all() == there[2:]
    assert prune_jobs(database, limit=10) == 2


def test_a_batch_continues_after_the_last_row_of_the_previous_one_up_to_the_first_young_row(database: Database) -> None:
    for status, age in (("dead", 60), ("dead", 60), ("sent", 50), ("sent", 40), ("sent", 1), ("sent", 1)):
        put(database, **old(status, age=timedelta(days=age)))
    reached, found = 0, []
    with database.begin() as connection:
        for _ in range(6):
            batch = upkeep.prune_jobs(connection, KEPT, limit=1, after=reached)
            reached = batch.last_id
            found.append((batch.read, batch.deleted))
    assert found == [(1, 0), (1, 0), (1, 1), (1, 1), (0, 0), (0, 0)]


def test_skipped_notifications_go_with_their_event_and_told_ones_with_their_email(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **old("done", age=timedelta(days=20)))
        rows.job(connection, event_id=event_id, **old("sent", age=timedelta(days=20)))
        rows.notification(connection, event_id=event_id, username="bob")
    assert prune_jobs(database) == 1
    assert rows.count_of(database, notifications) == 1
    assert prune_events(database) == 1
    assert rows.count_of(database, notifications) == 0


def test_retention_periods_can_be_configured(database: Database) -> None:
    brief = RetentionPeriods(sent=timedelta(days=2), dead=timedelta(days=1))
    for status in ("sent", "dead"):
        put(database, **old(status, age=timedelta(hours=36)))
    with database.begin() as connection:
        assert upkeep.prune_jobs(connection, brief, limit=10).deleted == 1
        assert connection.scalars(select(email_jobs.c.status)).all() == ["sent"]


def test_a_dry_run_counts_exactly_what_would_be_deleted(database: Database) -> None:
    with database.begin() as connection:
        aged = old("done", age=timedelta(days=100))
        whole, half, waits, bare = (rows.event(connection, **aged) for _ in range(4))
        for event_id, columns in (
            (whole, old("sent", age=timedelta(days=20))),
            (half, old("sent", age=timedelta(days=20))),
            (half, {**old("dead", age=timedelta(days=20)), "username": "bob"}),
            (waits, {}),
        ):
            rows.job(connection, event_id=event_id, **columns)
        original = rows.job(connection, **old("sent", age=timedelta(days=20)))
        rows.job(connection, replay_of=original)
        foretold = upkeep.old(connection, KEPT)
        done = upkeep.prune_jobs(connection, KEPT, limit=10), upkeep.prune_events(connection, KEPT, limit=10)
        left = connection.scalars(select(events.c.id).where(events.c.id.in_((whole, half, waits, bare)))).all()
    assert (foretold.jobs, foretold.events) == (2, 2) == (done[0].deleted, done[1].deleted)
    assert left == [half, waits]


def test_only_one_run_at_a_time_has_the_lock_and_a_session_that_ends_releases_it(database: Database) -> None:
    with database.engine.connect() as first, database.engine.connect() as second:
        assert upkeep.try_lock(first)
        assert not upkeep.try_lock(second)
        first.rollback()
        assert upkeep.try_lock(second)
        second.invalidate()
        assert until(lambda: upkeep.try_lock(first))


WORDS = {"comment": {"id": "1", "body": "Why?"}}


@pytest.mark.parametrize(
    ("age", "email", "emptied"),
    [
        (8, rows.ended("sent"), 1),
        (8, rows.ended("dead"), 1),
        (8, {}, 0),
        (6, rows.ended("sent"), 0),
    ],
    ids=["old", "of a dead email", "an email waits", "young"],
)
def test_the_text_of_an_event_can_be_deleted_earlier_once_no_email_waits_for_it(
    database: Database, age: int, email: dict[str, Any], emptied: int
) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, payload=WORDS, **old("done", age=timedelta(days=age)))
        rows.job(connection, event_id=event_id, **email)
        assert upkeep.empty_events(connection, KEPT, limit=10) == Batch(read=0, deleted=0, last_id=0)
        assert upkeep.empty_events(connection, RetentionPeriods(bodies=timedelta(days=7)), limit=10).deleted == emptied
        assert upkeep.empty_events(connection, RetentionPeriods(bodies=timedelta(days=7)), limit=10).deleted == 0
    row = rows.row(database, events, event_id)
    assert (row["payload"], row["emptied_at"] is not None) == (({}, True) if emptied else (WORDS, False))


@pytest.mark.parametrize("action", [Action.RETRY, Action.REPLAY])
def test_an_event_without_text_is_not_written_again(database: Database, action: Action) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, payload=WORDS, **old("done", age=timedelta(days=8)))
        email = rows.job(connection, event_id=event_id, **rows.ended("dead"))
        upkeep.empty_events(connection, RetentionPeriods(bodies=timedelta(days=7)), limit=10)
        assert act_on(connection, action, email) is None


def test_rows_locked_by_another_session_are_not_waited_for(database: Database) -> None:
    for _ in range(5):
        put(database, **old("sent", age=timedelta(days=30)))
    with database.begin() as first, database.begin() as second:
        assert upkeep.prune_jobs(first, KEPT, limit=3).deleted == 3
        assert upkeep.prune_jobs(second, KEPT, limit=5).deleted == 2


def test_counts_are_deleted_when_their_minute_is_long_past(database: Database) -> None:
    edge = func.now() - literal(KEPT.dead)
    with database.begin() as connection:
        for minute in (edge - A_MINUTE, edge + A_MINUTE):
            values = {"minute": minute, "worker": UUID(int=1), "event_type": "t", "outcome": "sent", "count": 1}
            connection.execute(insert(delivery_stats).values(**values))
        assert upkeep.prune_stats(connection, KEPT) == 1
        assert upkeep.prune_stats(connection, KEPT) == 0


def test_nothing_is_deleted_when_nothing_is_old(database: Database) -> None:
    put(database)
    assert prune_jobs(database) == prune_events(database) == 0
    assert rows.count_of(database, events) == 1
