"""Recording outcomes: who may write, what a late success does, and that the counts add up."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import RowMapping, delete, func, select

from notify.domain.audience import Reason
from notify.domain.claims import Lane
from notify.domain.jobs import Job
from notify.domain.outcomes import (
    LAPSE,
    Answer,
    Blame,
    Dead,
    Expired,
    Outcome,
    Phase,
    Released,
    Retry,
    Sent,
    Skipped,
    settle,
)
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.outbox import items, outbox
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.tables.emails import email_attempts, email_jobs, work_items
from notify.store.tables.operations import delivery_stats
from tests.support import rows
from tests.support.statements import statements

LEASE = timedelta(minutes=1)
WORKER, OTHER = UUID(int=1), UUID(int=2)
RELAY = "mx.example.com:25"

YES = Sent(answer=Answer(phase=Phase.FINAL_DOT, code=250, enhanced="2.0.0", text="queued as 4711"))
LATER = Retry(reason="greylisted", answer=Answer(phase=Phase.RCPT, code=451, enhanced="4.7.1", text="come back"))
NO = Dead(reason="refused", answer=Answer(phase=Phase.RCPT, code=550, enhanced="5.1.1", text="no such user"))
MUTED = Skipped(reason="muted_cl")
TOO_OLD = Expired()
BACK = Released(reason="not_begun")
DROPPED = Released(reason="dropped", blame=Blame.RELAY, answer=Answer(phase=Phase.MAIL, text="connection lost"))
REFUSALS = [
    pytest.param(outcome, id=name)
    for name, outcome in [
        ("later", LATER),
        ("dead", NO),
        ("skipped", MUTED),
        ("expired", TOO_OLD),
        ("released", BACK),
        ("relay", DROPPED),
    ]
]


def put(database: Database, **columns: Any) -> int:
    with database.begin() as connection:
        return rows.job(connection, **columns)


def claim(database: Database, *, limit: int = 100, worker: UUID = WORKER) -> list[Job]:
    with database.begin() as connection:
        return outbox.claim(connection, limit=limit, lease=LEASE, worker=worker)


def claim_one(database: Database, **columns: Any) -> Job:
    """The first attempt of a new email."""
    put(database, **columns)
    (job,) = claim(database)
    return job


def claim_after_lapse(database: Database, job: Job) -> Job:
    """Another worker's attempt of an email whose worker is late."""
    rows.let_lease_end(database, DELIVER, job.claim.id)
    with database.begin() as connection:
        found = outbox.claim_lapsed(connection, lease=LEASE, worker=OTHER)
    assert found is not None
    return found


def ending(job: Job, outcome: Outcome) -> AttemptOutcome:
    update = settle(outcome, job.claim, rng=Random(1))
    return AttemptOutcome(job=job, update=update, to_email=job.to_email, relay=RELAY)


def record(database: Database, *attempts: tuple[Job, Outcome]) -> Counter[str]:
    with database.begin() as connection:
        return outbox.record(connection, [ending(*one) for one in attempts], worker=WORKER)


def email(database: Database, job: Job) -> RowMapping:
    return rows.row(database, email_jobs, job.claim.id)


def attempts(database: Database) -> list[RowMapping]:
    """All recorded attempts, oldest first."""
    with database.begin() as connection:
        return list(connection.execute(select(email_attempts).order_by(email_attempts.c.id)).mappings())


def counted(database: Database) -> dict[str, int]:
    """The counts of all minutes, by outcome; lapses are counted besides."""
    stats = delivery_stats.c
    total = func.sum(stats.count).label("total")
    query = select(stats.outcome, total).where(stats.outcome != LAPSE).group_by(stats.outcome)
    with database.begin() as connection:
        return {row.outcome: row.total for row in connection.execute(query)}


def waits(database: Database, job: Job) -> timedelta:
    """How long it is until the email is due, by the database's clock."""
    query = select(work_items.c.due_at - func.now()).where(work_items.c.id == job.claim.id)
    with database.begin() as connection:
        left: timedelta = connection.execute(query).scalar_one()
    return left


def test_a_claimed_email_has_its_recipient_and_its_history(database: Database) -> None:
    first = claim_one(database, failures=2, attempt=3, max_failures=9, reason="reviewer")
    job = claim_after_lapse(database, first)
    (told,) = job.notifications
    assert (job.username, job.to_email, told.reason) == ("alice", "alice@example.com", Reason.REVIEWER)
    assert (job.claim.attempt, job.claim.failures, job.claim.max_failures, job.claim.lapses) == (5, 2, 9, 1)
    assert job.message_id == email(database, job)["message_id"]
    assert not job.expired


def test_a_claimed_email_says_that_it_has_expired(database: Database) -> None:
    assert claim_one(database, expires_at=rows.ago(seconds=1)).expired


def test_a_lapsed_email_is_claimed_alone(database: Database) -> None:
    job = claim_one(database)
    again = claim_after_lapse(database, job)
    assert replace(again.claim, waited=0.0) == replace(job.claim, attempt=2, lapses=1, lane=Lane.LEASED, waited=0.0)
    with database.begin() as connection:
        assert outbox.claim_lapsed(connection, lease=LEASE, worker=OTHER) is None


def test_a_lapse_is_counted_when_it_is_found_and_not_when_the_email_is_released(database: Database) -> None:
    again = claim_after_lapse(database, claim_one(database))
    is_released(database, again)
    with database.begin() as connection:
        assert outbox.claim_lapsed(connection, lease=LEASE, worker=OTHER)
        assert connection.scalar(select(func.sum(delivery_stats.c.count))) == 1


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "failures"),
    [
        (YES, "sent", None, 0),
        (LATER, "pending", "greylisted", 1),
        (NO, "dead", "refused", 0),
        (MUTED, "skipped", "muted_cl", 0),
        (TOO_OLD, "expired", "expires_at", 0),
        (BACK, "pending", "not_begun", 0),
        (DROPPED, "pending", "dropped", 0),
    ],
    ids=lambda given: type(given).__name__,
)
def test_each_outcome_sets_the_status_of_the_email(
    database: Database, outcome: Outcome, status: str, reason: str | None, failures: int
) -> None:
    job = claim_one(database)
    record(database, (job, outcome))
    found, item = email(database, job), rows.item_of(database, DELIVER, job.claim.id)
    assert (found["status"], found["outcome_reason"]) == (status, reason)
    assert (found["finished_at"] is not None) == (status != "pending") == (found["attempts"] == 1)
    assert (item is not None) == (status in {"pending", "dead"})
    if item is not None:
        lane = Lane.DEAD if status == "dead" else Lane.NORMAL
        assert (item["lane"], item["attempt"], item["failures"], item["reason"]) == (lane, 1, failures, reason)


def test_the_relays_replies_are_stored_separately_for_acceptance_and_refusal(database: Database) -> None:
    job = claim_one(database)
    record(database, (job, LATER))
    refused = email(database, job)
    assert (refused["last_code"], refused["last_enhanced_code"]) == (451, "4.7.1")
    assert (refused["last_error"], refused["relay_reply"]) == ("come back", None)
    rows.change_item(database, DELIVER, job.claim.id, due_at=rows.ago(seconds=1))
    (again,) = claim(database)
    record(database, (again, YES))
    sent = email(database, job)
    assert (sent["last_code"], sent["last_enhanced_code"]) == (250, "2.0.0")
    assert (sent["last_error"], sent["relay_reply"]) == (None, "queued as 4711")


def test_a_sent_email_has_its_relay_and_how_long_it_took(database: Database) -> None:
    job = claim_one(database)
    with database.begin() as connection:
        slowly = replace(ending(job, LATER), took=timedelta(seconds=9))
        outbox.record(connection, [slowly], worker=WORKER)
    waiting = email(database, job)
    assert (waiting["relay"], waiting["sent_in_ms"]) == (None, None)
    rows.change_item(database, DELIVER, job.claim.id, due_at=rows.ago(seconds=1))
    (again,) = claim(database)
    with database.begin() as connection:
        outbox.record(connection, [replace(ending(again, YES), took=timedelta(seconds=1.2345))], worker=WORKER)
    sent = email(database, job)
    assert (sent["relay"], sent["sent_in_ms"]) == (RELAY, 1_234)


def test_a_second_acceptance_does_not_change_how_long_the_first_took(database: Database) -> None:
    late = claim_one(database)
    prompt = claim_after_lapse(database, late)
    for job, seconds in ((prompt, 1), (late, 60)):
        with database.begin() as connection:
            said = replace(ending(job, YES), took=timedelta(seconds=seconds))
            outbox.record(connection, [said], worker=WORKER)
    assert email(database, late)["sent_in_ms"] == 1_000


def test_a_sent_email_has_the_address_it_went_to(database: Database) -> None:
    job = claim_one(database, to_email="old@example.com")
    with database.begin() as connection:
        moved = replace(ending(job, YES), to_email="new@example.com")
        outbox.record(connection, [moved], worker=WORKER)
    assert email(database, job)["to_email"] == "new@example.com"


def test_an_email_that_was_never_sent_keeps_its_address(database: Database) -> None:
    job = claim_one(database)
    with database.begin() as connection:
        outbox.record(connection, [replace(ending(job, MUTED), to_email=None)], worker=WORKER)
    assert email(database, job)["to_email"] == "alice@example.com"


@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_late_worker_cannot_overwrite_another_workers_attempt(database: Database, outcome: Outcome) -> None:
    late = claim_one(database)
    claim_after_lapse(database, late)
    before = email(database, late)
    assert record(database, (late, outcome)) == {"lease_lost": 1}
    assert email(database, late) == before
    assert counted(database) == {"lease_lost": 1}


@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_late_worker_cannot_overwrite_the_outcome(database: Database, outcome: Outcome) -> None:
    late = claim_one(database)
    record(database, (claim_after_lapse(database, late), YES))
    before = email(database, late)
    assert record(database, (late, outcome)) == {"lease_lost": 1}
    assert email(database, late) == before


@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_refusal_is_recorded_once(database: Database, outcome: Outcome) -> None:
    job = claim_one(database)
    record(database, (job, outcome))
    before = email(database, job)
    assert record(database, (job, outcome)) == {"lease_lost": 1}
    assert email(database, job) == before


def refused_by_another(database: Database, job: Job) -> None:
    record(database, (claim_after_lapse(database, job), NO))


def ends(status: str) -> Callable[[Database, Job], object]:
    return lambda database, job: rows.end_job(database, job.claim.id, status)


def is_released(database: Database, job: Job) -> None:
    with database.begin() as connection:
        items.settle(connection, DELIVER, [items.released(job.claim)])


@pytest.mark.parametrize(
    "meanwhile_it",
    [
        pytest.param(ends("dead"), id="dead"),
        pytest.param(ends("cancelled"), id="cancelled"),
        pytest.param(ends("expired"), id="expired"),
        pytest.param(ends("skipped"), id="skipped"),
        pytest.param(is_released, id="pending again"),
        pytest.param(claim_after_lapse, id="sending by another"),
        pytest.param(refused_by_another, id="refused to another"),
    ],
)
def test_an_email_that_the_relay_accepted_is_sent_whatever_the_row_says_now(
    database: Database, meanwhile_it: Callable[[Database, Job], object]
) -> None:
    late = claim_one(database)
    meanwhile_it(database, late)
    assert record(database, (late, YES)) == {"late_success": 1}
    found = email(database, late)
    assert (found["status"], found["relay_reply"]) == ("sent", "queued as 4711")
    assert rows.item_of(database, DELIVER, late.claim.id) is None
    assert found["finished_at"] is not None
    assert (found["outcome_reason"], found["last_error"]) == (None, None)
    assert counted(database)["late_success"] == 1


def test_a_second_acceptance_is_counted_and_changes_nothing(database: Database) -> None:
    first = claim_one(database)
    second = claim_after_lapse(database, first)
    record(database, (second, YES))
    before = email(database, first)
    twice = Sent(answer=replace(YES.answer, text="queued as 4712"))
    assert record(database, (first, twice)) == {"duplicate_sent": 1}
    assert email(database, first) == before
    assert counted(database) == {"sent": 1, "duplicate_sent": 1}
    assert attempts(database) == []


@pytest.mark.parametrize(
    ("first_says", "second_says", "verdicts", "status"),
    [
        (YES, NO, {"late_success": 1, "dead": 1}, "sent"),
        (YES, LATER, {"late_success": 1, "retry": 1}, "sent"),
        (YES, YES, {"duplicate_sent": 1, "sent": 1}, "sent"),
        (LATER, YES, {"lease_lost": 1, "sent": 1}, "sent"),
        (NO, LATER, {"lease_lost": 1, "retry": 1}, "pending"),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_two_attempts_of_one_email_in_one_batch_are_distinguished(
    database: Database,
    *,
    first_says: Outcome,
    second_says: Outcome,
    verdicts: dict[str, int],
    status: str,
    turned: bool,
) -> None:
    first = claim_one(database)
    second = claim_after_lapse(database, first)
    batch = [(first, first_says), (second, second_says)]
    assert record(database, *(reversed(batch) if turned else batch)) == verdicts
    assert email(database, first)["status"] == status
    assert counted(database) == verdicts


def test_two_late_acceptances_of_one_email_together_are_one_success_and_one_duplicate(database: Database) -> None:
    first = claim_one(database)
    second = claim_after_lapse(database, first)
    ends("cancelled")(database, first)
    assert record(database, (first, YES), (second, YES)) == {"late_success": 1, "duplicate_sent": 1}
    assert email(database, first)["status"] == "sent"


@pytest.mark.parametrize("outcome", [YES, NO], ids=["sent", "dead"])
def test_an_email_deleted_meanwhile_does_not_stop_the_others(database: Database, outcome: Outcome) -> None:
    for _ in range(2):
        put(database)
    gone, there = claim(database)
    with database.begin() as connection:
        connection.execute(delete(email_jobs).where(email_jobs.c.id == gone.claim.id))
    assert record(database, (gone, outcome), (there, YES)) == {"lease_lost": 1, "sent": 1}
    assert email(database, there)["status"] == "sent"


@pytest.mark.parametrize(
    ("outcome", "verdict", "code"),
    [
        (LATER, "retry: greylisted", 451),
        (NO, "dead: refused", 550),
        (MUTED, "skipped: muted_cl", None),
        (TOO_OLD, "expired: expires_at", None),
        (BACK, "released: not_begun", None),
        (DROPPED, "released: dropped", None),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_attempt_that_was_not_sent_is_recorded(
    database: Database, outcome: Outcome, verdict: str, code: int | None
) -> None:
    job = claim_one(database)
    record(database, (job, outcome))
    (kept,) = attempts(database)
    assert (kept["job_id"], kept["attempt"], kept["relay"]) == (job.claim.id, 1, RELAY)
    assert (kept["outcome"], kept["code"]) == (verdict, code)


def test_a_sent_attempt_is_not_recorded_separately(database: Database) -> None:
    job = claim_one(database)
    record(database, (job, YES))
    assert attempts(database) == []


def test_the_counts_of_all_batches_add_up(database: Database) -> None:
    for _ in range(12):
        put(database)
    jobs = claim(database)
    outcomes: list[Outcome] = [YES, YES, LATER, NO]
    for batch in (jobs[:4], jobs[4:8], jobs[8:]):
        record(database, *zip(batch, outcomes, strict=True))
    assert counted(database) == {"sent": 6, "retry": 3, "dead": 3}


def test_a_retry_is_due_after_its_backoff(database: Database) -> None:
    job = claim_one(database)
    record(database, (job, LATER))
    assert timedelta(seconds=25) < waits(database, job) <= timedelta(seconds=60)


@pytest.mark.parametrize(("left", "outcome"), [(10, LATER), (1, DROPPED)], ids=["retry", "release"])
def test_a_retry_is_not_due_after_the_email_expires(database: Database, left: int, outcome: Outcome) -> None:
    job = claim_one(database, expires_at=rows.ago(seconds=-left))
    record(database, (job, outcome))
    item = rows.item_of(database, DELIVER, job.claim.id)
    assert item is not None
    assert item["due_at"] == email(database, job)["expires_at"]


def test_an_expired_email_is_due_at_once_to_be_recorded_as_expired(database: Database) -> None:
    job = claim_one(database, expires_at=rows.ago(days=1))
    record(database, (job, LATER))
    (again,) = claim(database)
    assert again.expired


def test_poison_is_recorded_and_counted_like_any_other_end(database: Database) -> None:
    job = claim_one(database)
    rows.change_item(database, DELIVER, job.claim.id, lapses=2)
    rows.let_lease_end(database, DELIVER, job.claim.id)
    with database.begin() as connection:
        assert outbox.bury_poison(connection, worker=WORKER) == 1
        assert outbox.bury_poison(connection, worker=WORKER) == 0
    assert email(database, job)["outcome_reason"] == "poison"
    assert [one["outcome"] for one in attempts(database)] == ["dead: poison"]
    assert counted(database) == {"dead": 1}


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_a_batch_takes_the_same_number_of_statements_whatever_its_size(database: Database, *, late: bool) -> None:
    costs = []
    for size in (2, 50):
        for _ in range(size):
            put(database)
        jobs = claim(database, limit=size)
        if late:
            for job in jobs:
                ends("cancelled")(database, job)
        outcomes = [YES if number % 2 else NO for number in range(size)]
        with statements(database) as sent:
            record(database, *zip(jobs, outcomes, strict=True))
        costs.append(len(sent))
    assert costs[0] == costs[1] <= 6


def test_a_batch_of_sent_emails_is_one_statement(database: Database) -> None:
    for _ in range(3):
        put(database)
    jobs = claim(database)
    with statements(database) as sent:
        assert record(database, *((job, YES) for job in jobs)) == {"sent": 3}
    assert len(sent) == 1
    assert counted(database) == {"sent": 3}


def test_recording_nothing_runs_no_statement(database: Database) -> None:
    with statements(database) as sent, database.begin() as connection:
        assert outbox.record(connection, [], worker=WORKER) == {}
    assert sent == []


def test_a_delayed_email_waits_for_its_turn_but_not_past_its_expiry_and_counts_no_failure(
    database: Database,
) -> None:
    hour = timedelta(hours=1)
    email, old = claim_one(database, failures=2), claim_one(database, expires_at=rows.ago(minutes=-10))
    lost = claim_one(database)
    claim_after_lapse(database, lost)

    with database.begin() as connection:
        outbox.postpone(connection, {email.claim: hour, old.claim: hour, lost.claim: hour})
        now = connection.scalar(select(func.now()))

    waits, capped, elsewhere = (rows.item_of(database, DELIVER, one.claim.id) for one in (email, old, lost))
    assert now is not None
    assert waits is not None
    assert capped is not None
    assert elsewhere is not None
    assert (waits["lane"], waits["failures"], waits["due_at"]) == (Lane.NORMAL, 2, now + hour)
    assert (capped["lane"], capped["due_at"]) == (
        Lane.NORMAL,
        rows.row(database, email_jobs, old.claim.id)["expires_at"],
    )
    assert (elsewhere["lane"], elsewhere["attempt"]) == (Lane.LEASED, 2)
    assert attempts(database) == []


def test_delaying_nothing_does_nothing(database: Database) -> None:
    with statements(database) as sent, database.begin() as connection:
        outbox.postpone(connection, {})
    assert sent == []
