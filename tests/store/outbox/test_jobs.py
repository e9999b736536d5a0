"""Finding emails, and what operators may do with them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.outbox import jobs, outbox
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView
from notify.store.outbox.retry_cancel_replay import Action, act_on
from notify.store.tables.emails import email_attempts, email_jobs
from tests.support import rows
from tests.support.race import blocked_session, meanwhile

WAITING: dict[str, dict[str, Any]] = {"pending": {}, "sending": {"status": "sending"}}
STATES: dict[str, dict[str, Any]] = {**WAITING, **{status: rows.ended(status) for status in rows.FINAL_JOB}}
HISTORY = {"attempt": 14, "failures": 12, "lapses": 1, "last_code": 451, "last_error": "come back"}


def put(database: Database, **columns: Any) -> int:
    with database.begin() as connection:
        return rows.job(connection, **columns)


def show(database: Database, job_id: int) -> JobView:
    with database.begin() as connection:
        found = jobs.show(connection, job_id)
    assert found is not None
    return found


def retry(database: Database, job_id: int) -> bool:
    with database.begin() as connection:
        return act_on(connection, Action.RETRY, job_id) is not None


def cancel(database: Database, job_id: int) -> bool:
    with database.begin() as connection:
        return act_on(connection, Action.CANCEL, job_id) is not None


def replay(database: Database, job_id: int) -> int | None:
    with database.begin() as connection:
        return act_on(connection, Action.REPLAY, job_id)


def replayed(database: Database, job_id: int) -> int:
    """A replay that must be allowed."""
    found = replay(database, job_id)
    assert found is not None
    return found


def end(database: Database, job_id: int, status: str) -> None:
    rows.end_job(database, job_id, status)


@pytest.fixture
def found_by(database: Database) -> Callable[..., list[str]]:
    """The Message-IDs that a search finds among four emails."""
    with database.begin() as connection:
        event_id = rows.event(connection, key="k1", **rows.ended("done"))
        rows.job(connection, message_id="1@h", event_id=event_id, username="alice", topic="CL-1")
        rows.job(connection, message_id="2@h", event_id=event_id, username="bob", topic="CL-1")
        rows.job(connection, message_id="3@h", username="alice", topic="CL-2", **rows.ended("sent"))
        rows.job(connection, message_id="4@h", username="alice", topic="CL-1", **rows.ended("dead"))

    def search(**asked: Any) -> list[str]:
        with database.begin() as connection:
            limit = asked.pop("limit", 50)
            return [one.message_id for one in jobs.matching(connection, JobFilter(**asked), limit=limit)]

    return search


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["4@h", "3@h", "2@h", "1@h"]),
        ({"username": "alice"}, ["4@h", "3@h", "1@h"]),
        ({"topic": "CL-1"}, ["4@h", "2@h", "1@h"]),
        ({"status": "pending"}, ["2@h", "1@h"]),
        ({"event_key": "k1"}, ["2@h", "1@h"]),
        ({"username": "alice", "topic": "CL-1", "status": "dead"}, ["4@h"]),
        ({"username": "alice", "event_key": "k1"}, ["1@h"]),
        ({"username": "nobody"}, []),
        ({"limit": 2}, ["4@h", "3@h"]),
    ],
)
def test_a_search_finds_what_matches_every_filter_newest_first(
    found_by: Callable[..., list[str]], asked: dict[str, Any], found: list[str]
) -> None:
    assert found_by(**asked) == found


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    there = sorted((put(database, username="alice") for _ in range(5)), reverse=True)
    pages: list[list[int]] = []
    before = None
    while not pages or pages[-1]:
        with database.begin() as connection:
            alice = JobFilter(username="alice")
            pages.append([one.id for one in jobs.matching(connection, alice, before_id=before, limit=2)])
        before = pages[-1][-1] if pages[-1] else None
        put(database, username="alice")  # an email written meanwhile moves no page
    assert [row_id for page in pages for row_id in page] == there


def test_an_email_has_the_key_of_its_event(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, key="comment-1")
    assert show(database, put(database, event_id=event_id)).event_key == "comment-1"


def test_an_unknown_id_finds_no_email(database: Database) -> None:
    with database.begin() as connection:
        assert jobs.show(connection, 1) is None
        assert jobs.attempts(connection, 1) == []
        assert jobs.of_event(connection, "unknown") is None


def test_the_attempts_of_an_email_are_listed_oldest_first(database: Database) -> None:
    asked, other = put(database), put(database)
    with database.begin() as connection:
        for job_id, attempt in ((asked, 1), (other, 1), (asked, 2)):
            connection.execute(insert(email_attempts).values(job_id=job_id, attempt=attempt, outcome="retry: later"))
    with database.begin() as connection:
        found = jobs.attempts(connection, asked)
    assert [(one.attempt, one.outcome) for one in found] == [(1, "retry: later"), (2, "retry: later")]


def test_an_event_lists_what_became_of_it_for_everyone(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, key="comment-1", **rows.ended("done"))
        rows.job(connection, event_id=event_id, username="alice")
        rows.notification(connection, event_id=event_id, username="bob")
        rows.job(connection, username="carol")
    with database.begin() as connection:
        found = jobs.of_event(connection, "comment-1")
    assert found is not None
    assert (found.key, found.status) == ("comment-1", "done")
    assert [(one.username, one.status) for one in found.people] == [("alice", "pending"), ("bob", "skipped")]


@pytest.mark.parametrize("state", STATES)
def test_emails_that_are_pending_or_ended_unsent_can_be_retried(database: Database, state: str) -> None:
    job_id = put(database, **{**STATES[state], **({"due_at": rows.ago(hours=-1)} if state in WAITING else {})})
    before = show(database, job_id)
    allowed = state in {"pending", "dead", "expired", "cancelled"}
    assert retry(database, job_id) == allowed
    if allowed:
        assert claimable(database) == [job_id]
    else:
        assert show(database, job_id) == before


def claimable(database: Database) -> list[int]:
    """The ids that would be claimed now."""
    with database.engine.connect() as connection:
        found = outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=UUID(int=1))
        return [job.claim.id for job in found]


def test_a_retry_gives_a_fresh_budget_and_lifetime_and_keeps_the_history(database: Database) -> None:
    job_id = put(database, **rows.ended("dead"), expires_at=rows.ago(days=1), **HISTORY)
    assert retry(database, job_id)
    after = show(database, job_id)
    assert {name: getattr(after, name) for name in HISTORY} == HISTORY
    assert after.max_failures == 24
    assert after.due_at is not None
    assert (after.expires_at - after.due_at).days == 3


def test_a_retry_does_not_reduce_a_remaining_budget_or_lifetime(database: Database) -> None:
    job_id = put(database, **rows.ended("dead"), failures=1, max_failures=99, expires_at=rows.ago(days=-30))
    before = show(database, job_id)
    assert retry(database, job_id)
    after = show(database, job_id)
    assert (after.max_failures, after.expires_at) == (before.max_failures, before.expires_at)


@pytest.mark.parametrize("state", STATES)
def test_emails_that_have_not_ended_can_be_cancelled(database: Database, state: str) -> None:
    job_id = put(database, **STATES[state])
    before = show(database, job_id)
    assert cancel(database, job_id) == (state in WAITING)
    after = show(database, job_id)
    if state in WAITING:
        assert (after.status, after.outcome_reason, after.due_at) == ("cancelled", "by_hand", None)
    else:
        assert after == before


@pytest.mark.parametrize("state", STATES)
def test_ended_emails_can_be_replayed_unless_they_were_skipped(database: Database, state: str) -> None:
    job_id = put(database, **STATES[state])
    fresh = replay(database, job_id)
    assert (fresh is not None) == (state in {"sent", "dead", "expired", "cancelled"})
    assert rows.count_of(database, email_jobs) == (1 if fresh is None else 2)


def test_unknown_ids_cannot_be_retried_cancelled_or_replayed(database: Database) -> None:
    assert not retry(database, 1)
    assert not cancel(database, 1)
    assert replay(database, 1) is None


def test_a_replay_is_a_new_email_with_its_own_message_id_and_leaves_the_original_alone(database: Database) -> None:
    original = put(database, **rows.ended("dead"), reason="reviewer", **HISTORY)
    before = show(database, original)
    fresh = show(database, replayed(database, original))
    assert (fresh.replay_of, fresh.status) == (original, "pending")
    assert (fresh.attempt, fresh.failures, fresh.lapses, fresh.last_error) == (0, 0, 0, None)
    for fact in ("event_key", "event_type", "topic", "username", "to_email", "reason"):
        assert getattr(fresh, fact) == getattr(before, fact)
    assert fresh.message_id != before.message_id
    assert (fresh.message_id or "").endswith("@review.example")
    assert show(database, original) == before


def test_an_email_has_at_most_one_pending_replay(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    first = replayed(database, original)
    assert replay(database, original) is None
    end(database, first, "sent")
    second = replayed(database, original)
    end(database, second, "dead")
    third = replayed(database, second)
    names = {show(database, job_id).message_id for job_id in (original, first, second, third)}
    assert len(names) == 4


def test_of_two_concurrent_replays_one_is_written(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    with database.engine.connect() as first:
        assert act_on(first, Action.REPLAY, original) is not None
        with meanwhile(replay, database, original) as second:
            blocked_session(database)
            first.commit()
            assert second.result() is None
    assert rows.count_of(database, email_jobs) == 2


def test_an_ended_replay_is_not_retried_beside_a_pending_one(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    first = replayed(database, original)
    end(database, first, "dead")
    second = replayed(database, original)
    assert not retry(database, first)
    assert show(database, first).status == "dead"
    end(database, second, "sent")
    assert retry(database, first)


def test_of_a_replay_and_a_concurrent_retry_of_an_earlier_replay_one_succeeds(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    earlier = replayed(database, original)
    end(database, earlier, "dead")
    with database.engine.connect() as first:
        assert act_on(first, Action.REPLAY, original) is not None
        with meanwhile(retry, database, earlier) as second:
            blocked_session(database)
            first.commit()
            assert not second.result()
    assert show(database, earlier).status == "dead"


def test_a_refused_retry_leaves_the_callers_transaction_usable(database: Database) -> None:
    original = put(database, **rows.ended("sent"))
    first = replayed(database, original)
    end(database, first, "dead")
    replayed(database, original)
    with database.begin() as connection:
        assert not act_on(connection, Action.RETRY, first)
        assert act_on(connection, Action.CANCEL, put(database))


def test_an_email_can_be_replayed_after_an_earlier_replay_was_pruned(database: Database) -> None:
    original = put(database, **rows.ended("dead"))
    first = replayed(database, original)
    end(database, first, "sent")
    second = replayed(database, original)
    end(database, second, "dead")
    rows.change(database, email_jobs, first, created_at=rows.ago(days=20), finished_at=rows.ago(days=20))
    rows.change(database, email_jobs, original, created_at=rows.ago(days=20))
    with database.begin() as connection:
        assert upkeep.prune_jobs(connection, RetentionPeriods(), limit=10).deleted == 1
    third = replayed(database, original)
    assert show(database, third).message_id != show(database, second).message_id
