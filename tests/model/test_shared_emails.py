"""Joining an email beside any other change to it, in every order of their statements."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, text

from notify.delivery.erasure import erase, remaining
from notify.domain.claims import Claim
from notify.domain.retention import RetentionPeriods
from notify.domain.stages import FAN_OUT
from notify.intake.fan_out import FanOut
from notify.intake.save_preferences import save_preferences
from notify.intake.withdraw import withdraw
from notify.store.database import Database
from notify.store.directory import erasure
from notify.store.directory.person_names import PersonNames
from notify.store.operations import upkeep
from notify.store.outbox import bundles, items, outbox, retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action
from notify.store.tables.emails import bundles as bundle_rows
from notify.store.tables.emails import email_jobs, notifications
from notify.work.stage import out_of_turn
from tests.model.schedules import every_order
from tests.support import rows
from tests.support.doorbell import RecordingDoorbell

LEASE = timedelta(minutes=10)
WINDOW = timedelta(minutes=15)
FOREVER = datetime(2099, 1, 1, tzinfo=UTC)
WORKER = UUID(int=1)
# The events: the first three are on one change list of alice's, the others on one that bob reviews.
TOLD_BEFORE, FIRST, SECOND, THIRD, FOURTH = range(1, 6)
# Statements that lock or write.
SHARED = re.compile(
    "FOR (NO KEY )?UPDATE|FOR SHARE"
    "|(INSERT INTO|UPDATE|DELETE FROM) notify.(bundles|email_jobs|notifications|work_items)"
)

RESET = """
    DELETE FROM notify.bundles; DELETE FROM notify.notifications; DELETE FROM notify.email_jobs;
    DELETE FROM notify.work_items; DELETE FROM notify.user_notification_settings; DELETE FROM notify.events;
    INSERT INTO notify.people (username, email) VALUES ('alice', 'alice@a.example'), ('bob', 'bob@a.example')
        ON CONFLICT (username) DO NOTHING;
    INSERT INTO notify.change_lists (link, author) VALUES ('CL-1', 'alice'), ('CL-2', 'alice')
        ON CONFLICT (link) DO UPDATE SET author = 'alice';
    INSERT INTO notify.cl_reviewers (topic, username) VALUES ('CL-2', 'bob') ON CONFLICT DO NOTHING;
    INSERT INTO notify.events (id, key, type, topic, actor) OVERRIDING SYSTEM VALUE
        SELECT id, 'event-' || id, 'cl.comment.created', CASE WHEN id > 3 THEN 'CL-2' ELSE 'CL-1' END, 'dana'
        FROM generate_series(1, 5) AS id;
    INSERT INTO notify.work_items (stage, id, lane, attempt, leased_by, due_at)
        SELECT 'fan_out', id, 8, 1, gen_random_uuid(), 'infinity' FROM notify.events WHERE id > 1;
"""
SENT = text("""
    INSERT INTO notify.bundles (username, topic, last_at, email_job_id)
    VALUES ('alice', 'CL-1', now() - interval '1 minute', CAST(:job_id AS bigint))
""")
EMAILS = text("""
    SELECT array(
            SELECT event_id FROM notify.notifications WHERE email_job_id = coalesce(replay_of, job.id) ORDER BY event_id
        ) AS told,
        CASE WHEN lane = 8 THEN 'leased' ELSE status END AS status, deferred_by, due_at > now() AS waits,
        status = 'pending' AND lane IS NULL OR status <> 'pending' AND lane < 9 AS is_broken
    FROM notify.email_jobs AS job LEFT JOIN notify.work_items AS item ON stage = 'deliver' AND item.id = job.id
""")
LOST = text("""
    SELECT id FROM notify.events WHERE status = 'done' AND id NOT IN (SELECT event_id FROM notify.notifications)
    UNION ALL SELECT event.id FROM notify.notifications AS note JOIN notify.events AS event ON event.id = event_id
    JOIN notify.email_jobs AS job ON job.id = email_job_id
    WHERE job.status = 'withdrawn' AND event.status <> 'withdrawn'
""")
# Told of in an email that nobody has claimed.
NOT_WITHDRAWN = text("""
    SELECT event.id FROM notify.notifications AS note JOIN notify.events AS event ON event.id = event_id
    JOIN notify.work_items AS item ON stage = 'deliver' AND item.id = email_job_id
    WHERE event.status = 'withdrawn' AND lane < 8
""")
Act = Callable[[Connection], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The result of two sessions: the emails, and who was told about each event."""

    answers: tuple[Any, Any]
    emails: Sequence[tuple[Any, ...]]
    notifications: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class CallersDatabase:
    """A database whose transaction belongs to the caller."""

    connection: Connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        yield self.connection


def fan_out(*event_ids: int) -> Act:
    """Fan out these claimed events."""

    def act(connection: Connection) -> None:
        database = cast("Database", CallersDatabase(connection))
        handler = FanOut(database, doorbell=RecordingDoorbell(), message_host="h", rng=Random(1), bundle=WINDOW)
        handler.work([Claim(id=one, attempt=1, failures=0, max_failures=10, lapses=0) for one in event_ids])

    return act


def claim_events(limit: int) -> Act:
    """The events that a worker starts on, of those that it claims."""

    def act(connection: Connection) -> Sequence[int]:
        claimed = items.claim(connection, FAN_OUT, limit=limit, lease=LEASE, worker=WORKER, ordered=True)
        return sorted({one.id for one in claimed} - out_of_turn(claimed))

    return act


def rescue_event(connection: Connection) -> Sequence[int]:
    """The same for one lapsed event."""
    found = items.claim_lapsed(connection, FAN_OUT, lease=LEASE, worker=WORKER)
    return [found.id] if found and not out_of_turn([found]) else []


def claim(connection: Connection) -> Sequence[Sequence[int]]:
    """The events of the claimed emails."""
    claimed = outbox.claim(connection, limit=10, lease=LEASE, worker=WORKER)
    return sorted(sorted(one.event.id for one in job.notifications) for job in claimed)


def cancel(connection: Connection) -> Sequence[Sequence[int]]:
    """The events of the cancelled email."""
    retry_cancel_replay.act_on(connection, Action.CANCEL, the_job(connection))
    return [email.told for email in connection.execute(EMAILS) if email.status == "cancelled"]


def take_back(event_id: int) -> Act:
    """Withdraw this event."""

    def act(connection: Connection) -> None:
        withdraw(connection, f"event-{event_id}")

    return act


def retry(connection: Connection) -> None:
    retry_cancel_replay.act_on(connection, Action.RETRY, the_job(connection))


def had_paused(connection: Connection) -> None:
    """Alice has a schedule, which no longer defers anything."""
    save_preferences(connection, "alice", settings={"paused_until": datetime(2001, 1, 1, tzinfo=UTC)}, event_types={})


def pause(connection: Connection) -> None:
    save_preferences(connection, "alice", settings={"paused_until": FOREVER}, event_types={})


def resume(connection: Connection) -> None:
    save_preferences(connection, "alice", settings={"paused_until": None}, event_types={})


def prune_bundles(connection: Connection) -> None:
    bundles.prune(connection)


def prune_jobs(connection: Connection) -> None:
    upkeep.prune_jobs(connection, RetentionPeriods(), limit=100)


def cancel_all(connection: Connection) -> None:
    retry_cancel_replay.act(connection, Action.CANCEL, JobFilter(username="alice"), last_id=2**40, limit=100)


def erase_directory(connection: Connection) -> None:
    erasure.erase_directory(connection, PersonNames(username="alice"))


def erase_notifications(connection: Connection) -> None:
    erasure.erase_notifications(connection, "alice", alias="erased-1", limit=100)


def the_job(connection: Connection) -> int:
    """The email that existed at the beginning."""
    job_id: int = connection.execute(select(func.min(email_jobs.c.id))).scalar_one()
    return job_id


def nothing_sent(_: Connection) -> None:
    """Alice has had no email about this."""


def one_sent(connection: Connection, job_id: int | None = None) -> None:
    """The first email about this was just sent."""
    connection.execute(SENT, {"job_id": job_id})


def one_waits(connection: Connection, **columns: Any) -> None:
    """An email is due that may be joined until it is claimed."""
    job_id = rows.job(connection, event_id=TOLD_BEFORE, due_at=rows.ago(seconds=1), **columns)
    one_sent(connection, job_id)


def one_waits_after_a_pause(connection: Connection) -> None:
    had_paused(connection)
    one_waits(connection)


def one_is_deferred(connection: Connection) -> None:
    one_waits(connection)
    pause(connection)


def one_is_cancelled(connection: Connection) -> None:
    one_waits(connection, status="cancelled", finished_at=rows.ago(days=1000))


def one_waits_since_long_ago(connection: Connection) -> None:
    one_waits(connection)
    connection.execute(bundle_rows.update().values(last_at=rows.ago(days=3)))


def two_wait(connection: Connection) -> None:
    """An email about two events is due."""
    one_waits(connection)
    fan_out(FIRST)(connection)


def two_topics_wait(connection: Connection) -> None:
    """An email is due about each of two topics."""
    one_waits(connection)
    fan_out(THIRD)(connection)


def events_wait(connection: Connection) -> None:
    """No event is claimed yet."""
    connection.execute(text("UPDATE notify.work_items SET lane = 1, order_key = 'CL', due_at = now()"))


def events_have_lapsed(connection: Connection) -> None:
    """A worker has vanished with the first two events, and the others wait."""
    events_wait(connection)
    connection.execute(text("UPDATE notify.work_items SET lane = 8, lapses = 0 WHERE id IN (2, 3)"))


def reset(connection: Connection, start: Act) -> None:
    """Restore people and events, some of them to be fanned out, and the emails of the start."""
    connection.exec_driver_sql(RESET)
    start(connection)


def found_end(connection: Connection, answers: tuple[Any, Any]) -> End:
    """The result; asserts what is true whatever the two have done."""
    emails = connection.execute(EMAILS).all()
    told = connection.execute(
        select(notifications.c.event_id, notifications.c.username, notifications.c.email_job_id.is_not(None))
    ).all()
    assert connection.execute(LOST).all() == []
    assert connection.execute(NOT_WITHDRAWN).all() == []
    assert all(email.told and not email.is_broken for email in emails)
    taken = [email.told for email in emails if email.status != "pending"]
    assert all(one in taken for answer in answers for one in answer or ())
    return End(
        answers=answers,
        emails=sorted((email.told, email.status, email.deferred_by or "", bool(email.waits)) for email in emails),
        notifications=sorted(tuple(one) for one in told),
    )


def ends(database: Database, start: Act, first: Act, second: Act) -> Iterator[End]:
    for answers in every_order(
        database, first, second, reset=lambda connection: reset(connection, start), stops_at=SHARED
    ):
        with database.begin() as connection:
            yield found_end(connection, answers)


def serial_end(database: Database, start: Act, *acts: tuple[int, Act]) -> End:
    """The result of a serial order, with each answer in its place."""
    answers: list[Any] = [None, None]
    with database.begin() as connection:
        reset(connection, start)
    for place, act in acts:
        with database.begin() as connection:
            answers[place] = act(connection)
    with database.begin() as connection:
        return found_end(connection, (answers[0], answers[1]))


@pytest.mark.parametrize(
    ("start", "first", "second"),
    [
        pytest.param(nothing_sent, fan_out(FIRST), fan_out(SECOND), id="join, join before the first email"),
        pytest.param(one_sent, fan_out(FIRST), fan_out(SECOND), id="join, join before there is a bundle"),
        pytest.param(one_waits, fan_out(FIRST), fan_out(SECOND), id="join, join"),
        pytest.param(nothing_sent, fan_out(FIRST), fan_out(FIRST), id="the same event twice"),
        pytest.param(one_sent, fan_out(FIRST), fan_out(FIRST, SECOND), id="the same event twice, in a bundle"),
        pytest.param(nothing_sent, fan_out(THIRD, FIRST), fan_out(SECOND, FOURTH), id="two topics, two people"),
        pytest.param(one_waits, fan_out(FIRST), cancel, id="join, cancel"),
        pytest.param(one_waits, fan_out(FIRST), retry, id="join, retry"),
        pytest.param(one_is_cancelled, fan_out(FIRST), retry, id="join, retry of what was cancelled"),
        pytest.param(one_waits_after_a_pause, fan_out(FIRST), pause, id="join, pause"),
        pytest.param(had_paused, fan_out(FIRST), pause, id="join, pause before the first email"),
        pytest.param(one_is_deferred, fan_out(FIRST), resume, id="join, resume"),
        pytest.param(one_waits, pause, cancel, id="pause, cancel"),
        pytest.param(one_waits_since_long_ago, fan_out(FIRST), prune_bundles, id="join, prune bundles"),
        pytest.param(one_is_cancelled, fan_out(FIRST), prune_jobs, id="join, prune jobs"),
        pytest.param(one_waits, fan_out(FIRST), take_back(FIRST), id="join, withdraw the same"),
        pytest.param(one_waits, fan_out(FIRST), take_back(TOLD_BEFORE), id="join, withdraw another"),
        pytest.param(nothing_sent, fan_out(FIRST, SECOND), take_back(SECOND), id="fan out two, withdraw one"),
        pytest.param(two_wait, take_back(TOLD_BEFORE), take_back(FIRST), id="withdraw one, withdraw the other"),
        pytest.param(one_waits, take_back(TOLD_BEFORE), take_back(TOLD_BEFORE), id="withdraw, withdraw"),
        pytest.param(two_wait, take_back(FIRST), pause, id="withdraw, pause"),
        pytest.param(one_is_deferred, take_back(TOLD_BEFORE), resume, id="withdraw, resume"),
        pytest.param(two_wait, take_back(FIRST), cancel, id="withdraw, cancel"),
        pytest.param(two_topics_wait, take_back(THIRD), pause, id="withdraw what a pause moves to another email"),
        pytest.param(one_is_cancelled, take_back(TOLD_BEFORE), prune_jobs, id="withdraw, prune jobs"),
    ],
)
def test_the_emails_are_those_of_a_serial_order_whatever_the_order_of_statements(
    database: Database, start: Act, first: Act, second: Act
) -> None:
    allowed = [serial_end(database, start, *order) for order in (((0, first), (1, second)), ((1, second), (0, first)))]
    found = list(ends(database, start, first, second))
    assert len(found) > 1
    assert [end for end in found if end not in allowed] == []


@pytest.mark.parametrize(
    ("start", "act"),
    [
        pytest.param(one_waits, fan_out(FIRST), id="join"),
        pytest.param(one_waits, pause, id="pause"),
        pytest.param(one_is_deferred, resume, id="resume"),
        pytest.param(one_waits, cancel, id="cancel"),
        pytest.param(one_waits, cancel_all, id="erase"),
        pytest.param(one_waits, take_back(TOLD_BEFORE), id="withdraw"),
        pytest.param(two_wait, take_back(FIRST), id="withdraw one of two"),
    ],
)
def test_a_claimed_email_contains_what_it_had_when_it_was_claimed_or_the_claim_passes_it_over(
    database: Database, start: Act, act: Act
) -> None:
    orders = ([(0, act), (1, claim)], [(1, claim), (0, act)], [(1, lambda _: []), (0, act)])
    allowed = [serial_end(database, start, *order) for order in orders]
    found = list(ends(database, start, act, claim))
    assert len(found) > 1
    assert [end for end in found if end not in allowed] == []


@pytest.mark.parametrize(
    ("start", "step"),
    [(one_waits, cancel_all), (one_waits, erase_directory), (one_is_cancelled, erase_notifications)],
)
def test_a_person_erased_during_a_fan_out_can_be_erased_again(database: Database, start: Act, step: Act) -> None:
    for end in ends(database, start, fan_out(FIRST), step):
        assert [event_id for event_id, *_ in end.notifications] == [TOLD_BEFORE, FIRST]
        for _ in erase(database, "alice"):
            pass
        assert remaining(database, "alice") == {}


@pytest.mark.parametrize(
    ("start", "first", "second"),
    [
        pytest.param(events_wait, claim_events(1), claim_events(4), id="claim, claim"),
        pytest.param(events_have_lapsed, rescue_event, claim_events(4), id="rescue, claim"),
        pytest.param(events_have_lapsed, rescue_event, rescue_event, id="rescue, rescue"),
    ],
)
def test_no_event_is_started_while_an_earlier_one_with_its_order_key_is_leased(
    database: Database, start: Act, first: Act, second: Act
) -> None:
    for one, other in every_order(database, first, second, reset=lambda connection: reset(connection, start)):
        begun = [*one, *other]
        assert not (one and other)
        assert begun == [FIRST, SECOND, THIRD, FOURTH][: len(begun)]
