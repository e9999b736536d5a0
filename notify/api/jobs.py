"""Email jobs, for operators: find them, see their attempts, and retry, cancel or replay them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field
from sqlalchemy import Connection

from notify.api.schemas import Cursor, ExplainedNotification, Instant, JobId, Limit, View, explained
from notify.delivery.recheck import NoEmail, email_of
from notify.domain.outcomes import JobStatus
from notify.domain.stages import DELIVER
from notify.http import auth
from notify.http.context import Context, InContext
from notify.http.problems import documented
from notify.intake.schema import Name, Strict
from notify.store.directory.tokens import Scope
from notify.store.outbox import jobs, retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import AttemptView, JobView
from notify.store.outbox.retry_cancel_replay import Action

router = APIRouter(
    prefix="/api/v1/jobs", tags=["jobs"], dependencies=[auth.program_with(Scope.OPS)], responses=auth.REFUSALS
)
NOT_NOW = documented(HTTPStatus.CONFLICT)


class JobQuery(Strict):
    """Which jobs to list."""

    username: Name | None = None
    topic: Name | None = None
    status: JobStatus | None = None
    event_key: Name | None = None
    outcome_reason: Name | None = Field(
        default=None, description="Why the job has its status, such as `template_error`."
    )
    last_code: int | None = Field(default=None, ge=200, le=599, description="SMTP reply code of the last attempt.")
    to_email: Name | None = None
    message_id: Name | None = Field(default=None, description="Without angle brackets.")
    queue_id: Name | None = Field(default=None, description="Part of the relay's reply when it accepted the email.")
    created_from: Instant | None = Field(default=None, description="Created at this instant or later.")
    created_before: Instant | None = Field(default=None, description="Created before this instant.")
    cursor: Cursor | None = None
    limit: Limit = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWithAttempts(JobView):
    """A job, every attempt that did not end in `sent`, and the notifications in its email."""

    attempts: Sequence[AttemptView]
    notifications: Sequence[ExplainedNotification]


class WrittenEmail(View):
    """An email as it would be written now. Its links do nothing."""

    message_id: str
    to_email: str
    subject: str
    text: str
    html: str


class JobPage(View):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_cursor: int | None = Field(description="Where the next page begins, even if this one is empty. Null: no more.")


@router.get("")
def list_jobs(asked: Annotated[JobQuery, Query()], context: InContext) -> JobPage:
    """
    List email jobs, newest first.

    All filters must match. Filters that an index serves (person, topic, event, Message-ID, jobs that are not sent)
    fill every page. Other filters search 100,000 jobs per page: a page may be empty and still have a `next_cursor`.
    """
    wanted = JobFilter(**asked.model_dump(exclude={"cursor", "limit"}))
    with context.database.begin() as connection:
        page = jobs.page(connection, wanted, below=asked.cursor, limit=asked.limit)
    return JobPage(jobs=list(page.jobs), next_cursor=page.below)


@router.get("/{job_id}")
def get_job(job_id: JobId, context: InContext) -> JobWithAttempts:
    """
    Show a job with its attempts and notifications.

    Attempts that ended in `sent` are not listed. Each notification comes with the rules that decide, evaluated now.
    """
    with context.database.begin() as connection:
        job = _known(connection, job_id)
        attempts = jobs.attempts(connection, job_id)
        notifications = explained(connection, jobs.of_job(connection, job))
    return JobWithAttempts(**asdict(job), attempts=attempts, notifications=notifications)


@router.get("/{job_id}/email", responses=NOT_NOW)
def get_job_email(job_id: JobId, context: InContext) -> WrittenEmail:
    """
    Show the email of a job as it would be written now.

    Its links do nothing. 409: the text of its event was deleted.
    """
    with context.database.begin() as connection:
        _known(connection, job_id)
        try:
            email = email_of(connection, job_id)
        except NoEmail as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    written = context.preview_composer.compose(email, date=datetime.now(UTC))
    return WrittenEmail(
        message_id=email.message_id,
        to_email=email.to_email,
        subject=written.subject,
        text=written.text,
        html=written.html,
    )


@router.post("/{job_id}/retry", responses=NOT_NOW)
def retry_job(job_id: JobId, context: InContext) -> JobView:
    """
    Make a job due now.

    For jobs that are waiting, dead, expired or cancelled. Their history is kept.
    """
    return _act(context, Action.RETRY, job_id)


@router.post("/{job_id}/cancel", responses=NOT_NOW)
def cancel_job(job_id: JobId, context: InContext) -> JobView:
    """
    Cancel a job that has not been sent.

    An email that is being sent right now may still arrive.
    """
    return _act(context, Action.CANCEL, job_id)


@router.post("/{job_id}/replay", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def replay_job(job_id: JobId, context: InContext) -> JobView:
    """
    Send an email again as a new job.

    For jobs that have ended. The new job has a new Message-ID.
    """
    return _act(context, Action.REPLAY, job_id)


def _act(context: Context, action: Action, job_id: int) -> JobView:
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        changed_id = retry_cancel_replay.act_on(connection, action, job_id)
        if changed_id is None:
            raise HTTPException(HTTPStatus.CONFLICT, f"cannot {action} job {job_id}: it is {before.status}")
        after = _known(connection, changed_id)
    if after.status == JobStatus.PENDING:
        context.doorbell.ring(DELIVER)
    return after


def _known(connection: Connection, job_id: int) -> JobView:
    job = jobs.show(connection, job_id)
    if job is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no job has the id {job_id}")
    return job
