"""A notification is written once, with an email or with the reason why there is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.outbox import notifications
from notify.store.outbox.notifications import MessageIdTaken, NewNotification
from notify.store.tables.emails import email_jobs, work_items
from notify.store.tables.emails import notifications as table
from notify.store.tables.people import notification_event_types
from tests.support import rows
from tests.support.race import blocked_session, meanwhile
from tests.support.statements import statements

HOUR = timedelta(hours=1)


def about(event_id: int) -> Sequence[NewNotification]:
    """Alice is told about the event, and bob is not."""
    alice = NewNotification(
        event_id=event_id,
        event_type="cl.comment.created",
        topic="CL-1",
        username="alice",
        reason="author",
        why="default",
        to_email="alice@example.com",
        message_id=f"{event_id}@example.com",
    )
    return [alice, replace(alice, username="bob", why="is_bot", to_email=None, message_id=None)]


@pytest.fixture
def event_id(database: Database) -> int:
    with database.begin() as connection:
        return rows.event(connection, **rows.ended("done"))


def write(database: Database, *given: NewNotification) -> Counter[str]:
    with database.begin() as connection:
        return notifications.write(connection, given)


def written(database: Database) -> Sequence[Any]:
    with database.begin() as connection:
        query = select(table, email_jobs.c.message_id, email_jobs.c.topic, email_jobs.c.expires_at)
        return connection.execute(query.outerjoin(email_jobs).order_by(table.c.id)).all()


def test_a_told_person_has_a_due_email_and_a_skipped_one_a_reason(database: Database, event_id: int) -> None:
    assert write(database, *about(event_id)) == {"told": 1, "skipped": 1}
    alice, bob = written(database)
    assert (alice.username, alice.decision, alice.why, alice.topic) == ("alice", "told", "default", "CL-1")
    assert (bob.username, bob.decision, bob.why, bob.email_job_id) == ("bob", "skipped", "is_bot", None)
    assert rows.item_of(database, DELIVER, alice.email_job_id)


def test_existing_notifications_are_not_written_again(database: Database, event_id: int) -> None:
    for expected in ({"told": 1, "skipped": 1}, {}):
        assert write(database, *about(event_id)) == expected
    assert rows.count_of(database, email_jobs) == 1


def test_a_skipped_person_is_not_told_later_about_the_same_event(database: Database, event_id: int) -> None:
    alice, bob = about(event_id)
    write(database, alice, bob)
    assert write(database, replace(bob, to_email="bob@example.com", message_id="bob@example.com")) == {}
    assert rows.count_of(database, email_jobs) == 1


@pytest.mark.parametrize(("first_commits", "second_writes"), [(True, {}), (False, {"told": 1, "skipped": 1})])
def test_two_concurrent_workers_write_each_notification_once(
    database: Database, event_id: int, *, first_commits: bool, second_writes: dict[str, int]
) -> None:
    with database.engine.connect() as first:
        notifications.write(first, about(event_id))
        with meanwhile(write, database, *about(event_id)) as second:
            blocked_session(database)
            first.commit() if first_commits else first.rollback()
            assert second.result() == second_writes
    assert rows.count_of(database, email_jobs) == 1


def test_concurrent_contrary_decisions_leave_no_email_without_a_notification(database: Database, event_id: int) -> None:
    alice, _ = about(event_id)
    with database.engine.connect() as first:
        notifications.write(first, [replace(alice, to_email=None, message_id=None, why="muted_cl")])
        with meanwhile(write, database, alice) as second:
            blocked_session(database)
            first.commit()
            assert second.result() == {}
    assert [row.decision for row in written(database)] == ["skipped"]
    assert [rows.count_of(database, email_jobs), rows.count_of(database, work_items)] == [0, 0]


def test_a_message_id_that_another_email_has_is_an_error_and_loses_nothing(database: Database, event_id: int) -> None:
    with database.begin() as connection:
        rows.job(connection, message_id=f"{event_id}@example.com")
    with pytest.raises(MessageIdTaken):
        write(database, *about(event_id))
    assert event_id not in {row.event_id for row in written(database)}


def test_several_notifications_can_open_and_join_an_email_in_one_statement(database: Database, event_id: int) -> None:
    alice, _ = about(event_id)
    with database.begin() as connection:
        others = [rows.event(connection, **rows.ended("done")) for _ in range(3)]
        joining = [replace(alice, event_id=one, message_id=None, joins=alice.message_id) for one in others]
        with statements(database) as sent:
            assert notifications.write(connection, [alice, *joining]) == {"told": 4}
    assert len(sent) == 1
    assert [len({row.email_job_id for row in written(database)}), rows.count_of(database, email_jobs)] == [1, 1]


def test_a_joined_email_lives_as_long_as_its_longest_lived_notification(database: Database, event_id: int) -> None:
    alice, _ = about(event_id)
    with database.begin() as connection:
        longer = notification_event_types.c.code == "cl.merged"
        connection.execute(update(notification_event_types).values(expires_after=HOUR))
        connection.execute(update(notification_event_types).where(longer).values(expires_after=5 * HOUR))
        others = [rows.event(connection, **rows.ended("done")) for _ in range(2)]
        notifications.write(connection, [alice])
        job_id = connection.scalar(select(email_jobs.c.id))
        lives = []
        for one, event_type in zip(others, ("cl.merged", "cl.created"), strict=True):
            late = replace(alice, event_id=one, event_type=event_type, message_id=None, email_job_id=job_id)
            notifications.write(connection, [late])
            lives.append(connection.scalar(select(email_jobs.c.expires_at - email_jobs.c.created_at)))
    assert lives == [5 * HOUR] * 2


@pytest.mark.parametrize("life", [timedelta(minutes=30), timedelta(days=30)], ids=str)
def test_an_email_expires_after_the_time_its_event_type_allows(
    database: Database, event_id: int, life: timedelta
) -> None:
    query = select(email_jobs.c.expires_at - email_jobs.c.created_at)
    with database.begin() as connection:
        connection.execute(update(notification_event_types).values(expires_after=life))
        notifications.write(connection, about(event_id))
        assert set(connection.scalars(query)) == {life}


def test_an_email_whose_event_type_is_gone_expires_after_three_days(database: Database, event_id: int) -> None:
    with database.begin() as connection:
        connection.execute(delete(notification_event_types))
        notifications.write(connection, about(event_id))
        assert set(connection.scalars(select(email_jobs.c.expires_at - email_jobs.c.created_at))) == {timedelta(days=3)}


def test_writing_no_notifications_runs_no_statement(database: Database) -> None:
    with statements(database) as sent, database.begin() as connection:
        assert notifications.write(connection, []) == {}
        notifications.drop(connection, [])
    assert sent == []
