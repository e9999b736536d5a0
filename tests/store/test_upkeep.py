"""What upkeep deletes, and what it leaves alone."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select

from notify.store import jobs, upkeep
from notify.store.database import Database
from notify.store.tables import delivery_stats, email_attempts, email_jobs, events
from notify.store.upkeep import EVENTS_KEPT, KEPT, STATS_KEPT
from tests.support import rows

A_MINUTE = timedelta(minutes=1)


def put(database: Database, **columns: Any) -> int:
    with database.begin() as connection:
        return rows.letter(connection, **columns)


def old(status: str, *, age: timedelta) -> dict[str, Any]:
    return rows.ended(status, at=rows.ago(seconds=age.total_seconds()))


def prune_jobs(database: Database, *, limit: int = 100) -> int:
    with database.begin() as connection:
        return upkeep.prune_jobs(connection, limit=limit)


def prune_events(database: Database, *, limit: int = 100) -> int:
    with database.begin() as connection:
        return upkeep.prune_events(connection, limit=limit)


@pytest.mark.parametrize("status", KEPT)
@pytest.mark.parametrize(("beyond", "gone"), [(A_MINUTE, 1), (-A_MINUTE, 0)], ids=["old", "young"])
def test_a_letter_goes_when_it_ended_long_enough_ago(
    database: Database, status: str, beyond: timedelta, gone: int
) -> None:
    put(database, **old(status, age=KEPT[status] + beyond))
    assert prune_jobs(database) == gone
    assert rows.count_of(database, email_jobs) == 1 - gone


@pytest.mark.parametrize("status", ["pending", "sending"])
def test_a_letter_that_has_not_ended_stays_however_old_it_is(database: Database, status: str) -> None:
    put(database, status=status, created_at=rows.ago(days=400), due_at=rows.ago(days=400))
    assert prune_jobs(database) == 0


def test_every_final_status_of_letters_and_events_has_an_age() -> None:
    assert set(KEPT) == set(rows.FINAL_LETTER)
    assert set(EVENTS_KEPT) == set(rows.FINAL_EVENT)


def test_the_tries_of_a_letter_go_with_it_and_no_others(database: Database) -> None:
    gone, stays = put(database, **old("dead", age=timedelta(days=91))), put(database)
    with database.begin() as connection:
        for job_id in (gone, stays):
            connection.execute(insert(email_attempts).values(job_id=job_id, attempt=1, verdict="retry: later"))
    prune_jobs(database)
    with database.begin() as connection:
        assert connection.scalars(select(email_attempts.c.job_id)).all() == [stays]


@pytest.mark.parametrize("replays", [1, 2, 3])
def test_a_letter_stays_until_the_last_of_its_replays_has_gone(database: Database, replays: int) -> None:
    original = put(database, **old("sent", age=timedelta(days=50)))
    written = [replay(database, original) for _ in range(replays)]
    assert prune_jobs(database) == 0
    for job_id in written:
        rows.change(database, email_jobs, job_id, finished_at=rows.ago(days=20))
    gone = 0
    while found := prune_jobs(database):
        gone += found
    assert gone == 1 + replays


def replay(database: Database, original: int) -> int:
    """A replay that was sent a moment ago."""
    with database.begin() as connection:
        written = jobs.replay(connection, original)
    assert written is not None
    rows.change(database, email_jobs, written, **rows.ended("sent"))
    return written


@pytest.mark.parametrize("status", EVENTS_KEPT)
@pytest.mark.parametrize(("beyond", "gone"), [(A_MINUTE, 1), (-A_MINUTE, 0)], ids=["old", "young"])
def test_an_event_without_letters_goes_when_it_ended_long_enough_ago(
    database: Database, status: str, beyond: timedelta, gone: int
) -> None:
    with database.begin() as connection:
        rows.event(connection, **old(status, age=EVENTS_KEPT[status] + beyond))
    assert prune_events(database) == gone


def test_an_event_stays_as_long_as_any_of_its_letters(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **old("done", age=timedelta(days=400)))
    letter = put(database, event_id=event_id)
    assert prune_events(database) == 0
    rows.change(database, email_jobs, letter, **old("sent", age=timedelta(days=100)))
    assert prune_events(database) == 0
    assert prune_jobs(database) == 1
    assert prune_events(database) == 1


def test_a_batch_deletes_the_oldest_and_no_more_than_its_limit(database: Database) -> None:
    ages = [30, 60, 40, 50]
    by_age = {age: put(database, **old("sent", age=timedelta(days=age))) for age in ages}
    assert prune_jobs(database, limit=2) == 2
    with database.begin() as connection:
        left = connection.scalars(select(email_jobs.c.id).order_by(email_jobs.c.id)).all()
    assert left == sorted([by_age[30], by_age[40]])
    assert prune_events(database, limit=1) == 0
    assert prune_jobs(database, limit=10) == 2


def test_two_prunes_at_once_share_the_work_and_do_not_wait_for_each_other(database: Database) -> None:
    for _ in range(5):
        put(database, **old("sent", age=timedelta(days=30)))
    with database.begin() as first, database.begin() as second:
        assert upkeep.prune_jobs(first, limit=3) == 3
        assert upkeep.prune_jobs(second, limit=3) == 2


def test_counts_go_when_their_minute_is_long_past(database: Database) -> None:
    edge = func.now() - STATS_KEPT
    with database.begin() as connection:
        for minute in (edge - A_MINUTE, edge + A_MINUTE):
            values = {"minute": minute, "worker": UUID(int=1), "event_type": "t", "outcome": "sent", "count": 1}
            connection.execute(insert(delivery_stats).values(**values))
        assert upkeep.prune_stats(connection) == 1
        assert upkeep.prune_stats(connection) == 0


def test_nothing_old_means_nothing_deleted(database: Database) -> None:
    put(database)
    assert prune_jobs(database) == prune_events(database) == 0
    assert rows.count_of(database, events) == 1
