"""Operators act on many emails, a page at a time, beside workers and other operators."""

from datetime import timedelta
from itertools import islice
from uuid import uuid4

from sqlalchemy import select

from notify.delivery import bulk_actions
from notify.domain.outcomes import JobUpdate, OutcomeName
from notify.store.database import Database
from notify.store.outbox import outbox
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.outbox.retry_cancel_replay import Action, ActionPage, act_on
from notify.store.tables.emails import email_jobs, work_items
from tests.support import rows
from tests.support.race import blocked_session, meanwhile

LAST = 2**62
MOST_PAGES = 10


def work_off(database: Database, action: Action, job_filter: JobFilter) -> list[ActionPage]:
    return list(islice(bulk_actions.pages(database, action, job_filter, last_id=LAST), MOST_PAGES))


def cancel(database: Database, job_id: int) -> bool:
    with database.begin() as connection:
        return act_on(connection, Action.CANCEL, job_id) is not None


def test_emails_made_due_again_are_not_found_by_the_next_page(database: Database) -> None:
    with database.begin() as connection:
        there = [rows.job(connection) for _ in range(5)]

    pages = bulk_actions.pages(database, Action.RETRY, JobFilter(status="pending"), last_id=LAST, size=2)
    done = [page.done for page in islice(pages, MOST_PAGES)]

    assert [sorted(page) for page in done] == [there[:2], there[2:4], there[4:]]


def test_pages_already_changed_stay_changed_when_the_operator_aborts(database: Database) -> None:
    with database.begin() as connection:
        there = [rows.job(connection) for _ in range(4)]

    next(bulk_actions.pages(database, Action.CANCEL, JobFilter(status="pending"), last_id=LAST, size=2))

    stand = [rows.row(database, email_jobs, job_id)["status"] for job_id in there]
    assert stand == ["cancelled", "cancelled", "pending", "pending"]


def test_a_replay_that_is_retried_at_the_same_moment_does_not_stop_the_other_emails(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **rows.ended("done"))
        original = rows.job(connection, event_id=event_id, **rows.ended("sent"))
        first, second = (
            rows.job(connection, event_id=event_id, replay_of=original, **rows.ended("dead")) for _ in range(2)
        )
        bystander = rows.job(connection, **rows.ended("dead"))

    with database.engine.connect() as somebody:
        assert act_on(somebody, Action.RETRY, first)
        with meanwhile(work_off, database, Action.RETRY, JobFilter(ids=(second, bystander))) as pages:
            blocked_session(database)
            somebody.commit()
            assert [page.done for page in pages.result()] == [(bystander,)]
    assert rows.row(database, email_jobs, second)["status"] == "dead"


def test_a_cancellation_waits_for_the_worker_that_is_recording_the_email(database: Database) -> None:
    with database.begin() as connection:
        sent = rows.job(connection)
        (job,) = outbox.claim(connection, limit=1, lease=timedelta(minutes=1), worker=uuid4())
    ending = AttemptOutcome(job=job, update=JobUpdate(outcome=OutcomeName.SENT))
    with database.engine.connect() as worker:
        worker.execute(select(work_items).with_for_update())  # the first statement of recording
        with meanwhile(cancel, database, sent) as cancelled:
            blocked_session(database)
            outbox.record(worker, [ending], worker=uuid4())
            worker.commit()
            assert not cancelled.result()
    assert rows.row(database, email_jobs, sent)["status"] == "sent"
