"""Operating on many emails has the same result as operating on each alone."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from notify.domain.threads import message_id
from notify.store.database import Database
from notify.store.outbox import jobs, outbox, retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action, ActionPage
from notify.store.tables.emails import email_jobs, work_items
from notify.store.tables.people import notification_event_types
from tests.support import rows
from tests.support.harness import WorkerHarness
from tests.support.race import blocked_session, meanwhile
from tests.support.statements import statements

STATES: dict[str, dict[str, Any]] = {
    "pending": {"due_at": rows.ago(hours=-1)},
    "sending": {"status": "sending", "due_at": rows.ago(hours=-1)},
    **{status: rows.ended(status) for status in rows.FINAL_JOB},
}
EVERYTHING = JobFilter()
LAST = 2**62
MANY = 100


def put(database: Database, **columns: Any) -> int:
    with database.begin() as connection:
        return rows.job(connection, **columns)


def one_of_each(database: Database) -> list[int]:
    return [put(database, username=state, **columns) for state, columns in STATES.items()]


def act(
    database: Database,
    action: Action,
    job_filter: JobFilter = EVERYTHING,
    *,
    after: int = 0,
    last: int = LAST,
    limit: int = MANY,
) -> ActionPage:
    with database.begin() as connection:
        return retry_cancel_replay.act(connection, action, job_filter, after_id=after, last_id=last, limit=limit)


def as_they_stand(database: Database) -> list[tuple[Any, ...]]:
    """What the emails of two runs have in common: everything but ids and instants."""
    return [
        tuple(found)
        for found in WorkerHarness(database, None).execute("""
            SELECT username, status, failures, max_failures, attempt, lapses, lane, outcome_reason,
                replay_of IS NOT NULL, due_at <= now(), finished_at IS NOT NULL, expires_at > now()
            FROM jobs ORDER BY username, id
        """)
    ]


@pytest.mark.parametrize("action", Action)
def test_acting_on_many_emails_equals_acting_on_each_alone(database: Database, action: Action) -> None:
    worn = {"failures": 12, "attempt": 14, "expires_at": rows.ago(hours=1)}
    for state, columns in STATES.items():
        put(database, username=f"alone-{state}", **columns, **worn)
    with database.begin() as connection:
        for job in jobs.matching(connection, EVERYTHING, limit=MANY):
            retry_cancel_replay.act_on(connection, action, job.id)
    expected = [(name.removeprefix("alone-"), *rest) for name, *rest in as_they_stand(database)]
    with database.begin() as connection:
        connection.execute(email_jobs.delete())
        connection.execute(work_items.delete())
    for state, columns in STATES.items():
        put(database, username=state, **columns, **worn)

    page = act(database, action)

    assert as_they_stand(database) == expected
    assert page.done


@pytest.mark.parametrize("action", Action)
def test_the_preview_counts_what_will_be_done_and_changes_nothing(database: Database, action: Action) -> None:
    one_of_each(database)
    before = as_they_stand(database)
    with database.begin() as connection:
        tally = retry_cancel_replay.count(connection, action, EVERYTHING)
    assert as_they_stand(database) == before

    page = act(database, action, last=tally.last_id)

    assert (tally.matched, tally.allowed) == (len(STATES), len(page.done))


@pytest.mark.parametrize(
    ("job_filter", "selected"),
    [
        (JobFilter(), {"a", "b", "c"}),
        (JobFilter(username="alice"), {"a", "c"}),
        (JobFilter(topic="CL-2"), {"b"}),
        (JobFilter(status="dead"), {"a", "b"}),
        (JobFilter(event_key="k1"), {"a"}),
        (JobFilter(outcome_reason="template_error"), {"b"}),
        (JobFilter(last_code=554), {"c"}),
        (JobFilter(username="alice", status="dead"), {"a"}),
        (JobFilter(ids=()), set()),
        (JobFilter(username="nobody"), set()),
    ],
)
def test_a_filter_selects_emails_that_match_all_its_conditions(
    database: Database, job_filter: JobFilter, selected: set[str]
) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, key="k1")
        rows.job(connection, message_id="a", event_id=event_id, **rows.ended("dead"))
        template = {"username": "bob", "topic": "CL-2", "outcome_reason": "template_error"}
        rows.job(connection, message_id="b", **rows.ended("dead"), **template)
        rows.job(connection, message_id="c", last_code=554)
        assert {job.message_id for job in jobs.matching(connection, job_filter, limit=MANY)} == selected


def test_a_time_range_includes_its_start_and_excludes_its_end(database: Database) -> None:
    early, middle, late = (put(database, created_at=rows.ago(hours=hours)) for hours in (3, 2, 1))
    with database.begin() as connection:
        at = {job.id: job.created_at for job in jobs.matching(connection, EVERYTHING, limit=MANY)}
        job_filter = JobFilter(created_from=at[early], created_before=at[late])
        assert {job.id for job in jobs.matching(connection, job_filter, limit=MANY)} == {early, middle}


@pytest.mark.parametrize("action", Action)
def test_pages_cover_every_email_exactly_once(database: Database, action: Action) -> None:
    state = STATES["dead"] if action is Action.REPLAY else STATES["pending"]
    there = [put(database, **state) for _ in range(5)]
    taken: list[int] = []
    page = act(database, action, last=there[-1], limit=2)
    while page.last_id is not None:
        taken.append(len(page.done))
        page = act(database, action, after=page.last_id, last=there[-1], limit=2)
    assert taken == [2, 2, 1]


def test_an_email_written_after_the_count_is_not_selected(database: Database) -> None:
    counted, later = put(database), put(database)
    assert act(database, Action.CANCEL, last=counted).done == (counted,)
    assert rows.row(database, email_jobs, later)["status"] == "pending"


def test_a_page_of_many_jobs_takes_five_statements(
    database: Database,
) -> None:
    for _ in range(20):
        put(database, **rows.ended("dead"))
    for action in (Action.REPLAY, Action.RETRY, Action.CANCEL):
        with statements(database) as said, database.begin() as connection:
            assert len(retry_cancel_replay.act(connection, action, EVERYTHING, last_id=LAST, limit=MANY).done) >= 20
        assert len(said) == 5


def test_of_several_ended_replays_one_is_retried_and_the_page_continues(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    with database.begin() as connection:
        first, second = (rows.job(connection, replay_of=original, **rows.ended("dead")) for _ in range(2))
    bystander = put(database, **rows.ended("dead"))

    assert set(act(database, Action.RETRY).done) == {first, bystander}
    assert rows.row(database, email_jobs, second)["status"] == "dead"


def test_an_email_and_its_replay_are_replayed_together_under_their_own_message_ids(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, key="k1")
        name = message_id("CL-1", event_key="k1", username="alice", host="h.example")
        rows.job(connection, event_id=event_id, message_id=name, **rows.ended("dead"))
    (replay,) = act(database, Action.REPLAY).done
    rows.end_job(database, replay, "dead", outcome_reason="refused")

    act(database, Action.REPLAY)

    with database.begin() as connection:
        names = {job.message_id for job in jobs.matching(connection, EVERYTHING, limit=MANY)}
    assert names == {
        message_id("CL-1", event_key="k1", username="alice", host="h.example", replay=number) for number in range(4)
    }


@pytest.mark.parametrize(("action", "changed"), [(Action.RETRY, False), (Action.CANCEL, True)])
def test_an_email_that_is_being_claimed_is_waited_for_and_judged_by_its_new_state(
    database: Database, action: Action, *, changed: bool
) -> None:
    job_id = put(database)
    with database.engine.connect() as worker:
        outbox.claim(worker, limit=1, lease=timedelta(minutes=1), worker=UUID(int=1))
        with meanwhile(act, database, action) as by_an_operator:
            blocked_session(database)
            worker.commit()
            assert bool(by_an_operator.result().done) is changed
    assert rows.row(database, email_jobs, job_id)["status"] == ("cancelled" if changed else "pending")


@pytest.mark.parametrize("action", [Action.RETRY, Action.REPLAY])
def test_a_retried_email_lives_as_long_again_as_its_event_type_says(database: Database, action: Action) -> None:
    put(database, **rows.ended("dead"), expires_at=rows.ago(days=1))
    life = timedelta(minutes=30)
    with database.begin() as connection:
        connection.execute(notification_event_types.update().values(expires_after=life))
        (done,) = retry_cancel_replay.act(connection, action, EVERYTHING, last_id=LAST, limit=MANY).done
        query = select(email_jobs.c.expires_at - func.now()).where(email_jobs.c.id == done)
        assert connection.scalar(query) == life
