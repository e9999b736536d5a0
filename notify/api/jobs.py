"""Letters, for operators: where one is, what was tried, and what can be done by hand."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import Connection

from notify.api import auth
from notify.api.context import InContext
from notify.api.problems import documented
from notify.api.schemas import Id, JobFilter, JobOut, JobPage, JobWithAttempts
from notify.domain.jobs import Stage
from notify.store import jobs
from notify.store.jobs import JobView
from notify.store.tokens import Scope

router = APIRouter(
    prefix="/api/v1/jobs", tags=["jobs"], dependencies=[auth.program_with(Scope.OPS)], responses=auth.REFUSALS
)
NOT_NOW = documented(HTTPStatus.CONFLICT)


@router.get("")
def list_jobs(asked: Annotated[JobFilter, Query()], context: InContext) -> JobPage:
    """The newest letters that match everything asked for, a page at a time."""
    with context.database.begin() as connection:
        found = jobs.search(
            connection,
            username=asked.username,
            cl_link=asked.cl_link,
            status=asked.status,
            event_key=asked.event_key,
            before_id=asked.cursor,
            limit=asked.limit + 1,
        )
    page = [JobOut.model_validate(job) for job in found[: asked.limit]]
    return JobPage(jobs=page, next_cursor=page[-1].id if len(found) > asked.limit else None)


@router.get("/{job_id}")
def get_job(job_id: Id, context: InContext) -> JobWithAttempts:
    """One letter, and every try of it that did not end in sent."""
    with context.database.begin() as connection:
        job = JobOut.model_validate(_known(connection, job_id))
        attempts = jobs.attempts(connection, job_id)
    return JobWithAttempts.model_validate({**job.model_dump(), "attempts": attempts})


@router.post("/{job_id}/retry", responses=NOT_NOW)
def retry_job(job_id: Id, context: InContext) -> JobOut:
    """Make a letter due now that waits or has ended without being sent. Its history stays."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        _allowed(jobs.retry(connection, job_id), before, "retried")
        after = _known(connection, job_id)
    context.doorbell.ring(Stage.DELIVER)
    return JobOut.model_validate(after)


@router.post("/{job_id}/cancel", responses=NOT_NOW)
def cancel_job(job_id: Id, context: InContext) -> JobOut:
    """End a letter that is not out. One that is on its way at this moment may still arrive."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        _allowed(jobs.cancel(connection, job_id), before, "cancelled")
        return JobOut.model_validate(_known(connection, job_id))


@router.post("/{job_id}/replay", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def replay_job(job_id: Id, context: InContext) -> JobOut:
    """Write a new letter like one that has ended, with a new Message-ID, and return it."""
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        fresh = _allowed(jobs.replay(connection, job_id), before, "replayed")
        written = _known(connection, fresh)
    context.doorbell.ring(Stage.DELIVER)
    return JobOut.model_validate(written)


def _known(connection: Connection, job_id: int) -> JobView:
    job = jobs.show(connection, job_id)
    if job is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no job {job_id}")
    return job


def _allowed(done: int | None, job: JobView, what: str) -> int:
    if not done:
        raise HTTPException(HTTPStatus.CONFLICT, f"job {job.id} is {job.status} and cannot be {what}")
    return done
