"""Email jobs, for operators: where one is, what was tried, and what can be done by hand."""

from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import Connection

from notify.api.schemas import Id, JobPage, JobQuery, JobWithAttempts, OwnNotification, WrittenEmail
from notify.delivery import shown
from notify.domain.stages import DELIVER
from notify.http import auth
from notify.http.context import InContext
from notify.http.problems import documented
from notify.intake.explain import traces
from notify.store.directory.tokens import Scope
from notify.store.outbox import jobs
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView

router = APIRouter(
    prefix="/api/v1/jobs", tags=["jobs"], dependencies=[auth.program_with(Scope.OPS)], responses=auth.REFUSALS
)
NOT_NOW = documented(HTTPStatus.CONFLICT)


@router.get("")
def list_jobs(asked: Annotated[JobQuery, Query()], context: InContext) -> JobPage:
    """
    The newest jobs that match everything asked for, a page at a time.

    Ask for a person, a change list, an event, a Message-ID or what is not sent, and a page is full while
    there are more. What no index finds is looked for among a hundred thousand jobs at a time: a page
    may then be empty and still have a next_cursor.
    """
    which = JobFilter(**asked.model_dump(exclude={"cursor", "limit"}))
    with context.database.begin() as connection:
        page = jobs.page(connection, which, below=asked.cursor, limit=asked.limit)
    return JobPage(jobs=list(page.jobs), next_cursor=page.below)


@router.get("/{job_id}")
def get_job(job_id: Id, context: InContext) -> JobWithAttempts:
    """One job, every attempt that did not end in sent, what its email tells of, and the rules that say why."""
    with context.database.begin() as connection:
        job = _known(connection, job_id)
        attempts = jobs.attempts(connection, job_id)
        told = jobs.of_job(connection, job)
        why = traces(connection, told)
    notifications = [OwnNotification(**asdict(one), trace=list(why[one.id])) for one in told]
    return JobWithAttempts(**asdict(job), attempts=attempts, notifications=notifications)


@router.get("/{job_id}/email", responses=NOT_NOW)
def get_email(job_id: Id, context: InContext) -> WrittenEmail:
    """The email as it would be written today, with all that it tells of; its links open nothing."""
    with context.database.begin() as connection:
        _known(connection, job_id)
        try:
            email = shown.email(connection, job_id)
        except shown.NothingToShow as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    written = context.showing.compose(email, date=datetime.now(UTC))
    return WrittenEmail(
        message_id=email.message_id,
        to_email=email.to_email,
        subject=written.subject,
        text=written.text,
        html=written.html,
    )


@router.post("/{job_id}/retry", responses=NOT_NOW)
def retry_job(job_id: Id, context: InContext) -> JobView:
    """Make a job due now that waits or has ended without being sent. Its history stays."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        _allowed(jobs.retry(connection, job_id), before, "retried")
        after = _known(connection, job_id)
    context.doorbell.ring(DELIVER)
    return after


@router.post("/{job_id}/cancel", responses=NOT_NOW)
def cancel_job(job_id: Id, context: InContext) -> JobView:
    """End a job whose email is not out. One that is on its way at this moment may still arrive."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        _allowed(jobs.cancel(connection, job_id), before, "cancelled")
        return _known(connection, job_id)


@router.post("/{job_id}/replay", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def replay_job(job_id: Id, context: InContext) -> JobView:
    """Write a new job like one that has ended, with a new Message-ID, and return it."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        fresh = _allowed(jobs.replay(connection, job_id), before, "replayed")
        written = _known(connection, fresh)
    context.doorbell.ring(DELIVER)
    return written


def _known(connection: Connection, job_id: int) -> JobView:
    job = jobs.show(connection, job_id)
    if job is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no job {job_id}")
    return job


def _allowed(done: int | None, job: JobView, what: str) -> int:
    if not done:
        raise HTTPException(HTTPStatus.CONFLICT, f"job {job.id} is {job.status} and cannot be {what}")
    return done
