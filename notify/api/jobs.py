"""Email jobs, for operators: where one is, what was tried, and what can be done by hand."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field
from sqlalchemy import Connection

from notify.api.schemas import Cursor, ExplainedNotification, Id, Instant, Limit, View, explained
from notify.delivery.recheck import NoEmail, email_of
from notify.domain.outcomes import JobStatus
from notify.domain.stages import DELIVER
from notify.http import auth
from notify.http.context import Context, InContext
from notify.http.problems import documented
from notify.intake.schema import Name, Strict
from notify.store.directory.tokens import Scope
from notify.store.outbox import by_hand, jobs
from notify.store.outbox.by_hand import Action
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import AttemptView, JobView

router = APIRouter(
    prefix="/api/v1/jobs", tags=["jobs"], dependencies=[auth.program_with(Scope.OPS)], responses=auth.REFUSALS
)
NOT_NOW = documented(HTTPStatus.CONFLICT)


class JobQuery(Strict):
    """Which jobs to list, and from where."""

    username: Name | None = None
    topic: Name | None = None
    status: JobStatus | None = None
    event_key: Name | None = None
    outcome_reason: Name | None = Field(default=None, description="Why it has its status, such as template_error.")
    last_code: int | None = Field(default=None, ge=200, le=599, description="SMTP code of the last attempt.")
    to_email: Name | None = None
    message_id: Name | None = Field(default=None, description="Without brackets.")
    queue_id: Name | None = Field(default=None, description="Part of the relay's words when it took the email.")
    created_from: Instant | None = Field(default=None, description="Written at this instant or later.")
    created_before: Instant | None = Field(default=None, description="Written before this instant.")
    cursor: Cursor | None = None
    limit: Limit = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWithAttempts(JobView):
    """A job, every attempt that did not end in sent, and what its email tells of."""

    attempts: Sequence[AttemptView]
    notifications: Sequence[ExplainedNotification]


class WrittenEmail(View):
    """An email as it would be written today; its links open nothing."""

    message_id: str
    to_email: str
    subject: str
    text: str
    html: str


class JobPage(View):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_cursor: int | None = Field(
        description="Where the next page begins, though this one may be empty; null: this is the last."
    )


@router.get("")
def list_jobs(asked: Annotated[JobQuery, Query()], context: InContext) -> JobPage:
    """
    The newest jobs that match everything asked for, a page at a time.

    Ask for a person, a change list, an event, a Message-ID or what is not sent, and a page is full while
    there are more. What no index finds is looked for among a hundred thousand jobs at a time: a page
    may then be empty and still have a next_cursor.
    """
    wanted = JobFilter(**asked.model_dump(exclude={"cursor", "limit"}))
    with context.database.begin() as connection:
        page = jobs.page(connection, wanted, below=asked.cursor, limit=asked.limit)
    return JobPage(jobs=list(page.jobs), next_cursor=page.below)


@router.get("/{job_id}")
def get_job(job_id: Id, context: InContext) -> JobWithAttempts:
    """One job, every attempt that did not end in sent, what its email tells of, and the rules that say why."""
    with context.database.begin() as connection:
        job = _known(connection, job_id)
        attempts = jobs.attempts(connection, job_id)
        notifications = explained(connection, jobs.of_job(connection, job))
    return JobWithAttempts(**asdict(job), attempts=attempts, notifications=notifications)


@router.get("/{job_id}/email", responses=NOT_NOW)
def get_email(job_id: Id, context: InContext) -> WrittenEmail:
    """The email as it would be written today, with all that it tells of; its links open nothing."""
    with context.database.begin() as connection:
        _known(connection, job_id)
        try:
            email = email_of(connection, job_id)
        except NoEmail as error:
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
    return _act(context, Action.RETRY, job_id)


@router.post("/{job_id}/cancel", responses=NOT_NOW)
def cancel_job(job_id: Id, context: InContext) -> JobView:
    """End a job whose email is not out. One that is on its way at this moment may still arrive."""
    return _act(context, Action.CANCEL, job_id)


@router.post("/{job_id}/replay", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def replay_job(job_id: Id, context: InContext) -> JobView:
    """Write a new job like one that has ended, with a new Message-ID, and return it."""
    return _act(context, Action.REPLAY, job_id)


def _act(context: Context, action: Action, job_id: int) -> JobView:
    with context.database.begin() as connection:
        before = _known(connection, job_id)
        changed_id = by_hand.act_on(connection, action, job_id)
        if changed_id is None:
            raise HTTPException(HTTPStatus.CONFLICT, f"cannot {action} job {job_id}: it is {before.status}")
        after = _known(connection, changed_id)
    if after.status == JobStatus.PENDING:
        context.doorbell.ring(DELIVER)
    return after


def _known(connection: Connection, job_id: int) -> JobView:
    job = jobs.show(connection, job_id)
    if job is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no job {job_id}")
    return job
