"""Statuses: publish what is wanted on commits, and for operators see what became of it, retry and cancel it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import Field
from sqlalchemy import Connection

from notify.api import examples
from notify.api.schemas import LARGEST_ID, Cursor, Limit, View
from notify.domain.similar_names import instead_of
from notify.domain.stages import STATUSES
from notify.domain.statuses import TargetStatus
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import Context, InContext
from notify.http.problems import BODY_RESPONSES, MAX_ERRORS, FieldError, RefusedFields, documented
from notify.intake.schema import Name, Strict
from notify.statuses import schema
from notify.statuses.publish import publish
from notify.statuses.schema import StatusIn
from notify.store.directory.tokens import Scope
from notify.store.statuses import by_hand, listing
from notify.store.statuses.listing import StatusFilter, StatusView

LARGEST_BATCH = 1_000

router = APIRouter(prefix="/api/v1/statuses", tags=["statuses"], responses=auth.REFUSALS)
may_write = auth.program_with(Scope.STATUSES_WRITE)
operates = auth.program_with(Scope.OPS)
NOT_NOW = documented(HTTPStatus.CONFLICT)
StatusId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
OneStatus = Annotated[StatusIn, Depends(JsonBody(StatusIn, example=examples.STATUS))]
Batch = Annotated[
    list[StatusIn],
    Depends(
        JsonBody(
            Annotated[list[StatusIn], Field(max_length=LARGEST_BATCH, fail_fast=True)],
            example=[examples.STATUS, examples.CHECK_RUN],
        )
    ),
]


class StatusAccepted(View):
    """The status is stored and will be shown, unless a newer version replaces it before."""

    id: int = Field(description="The target: one row for each context of a commit.")
    version: int = Field(description="How often the target has been published.")


class StatusesAccepted(View):
    """All statuses of the batch are stored."""

    statuses: list[StatusAccepted] = Field(description="One for each status of the batch, in its order.")


class StatusQuery(Strict):
    """Which statuses to list."""

    forge: schema.ForgeName | None = None
    repository: schema.Repository | None = Field(default=None, description="By its present or an earlier name.")
    sha: schema.Sha | None = None
    context: schema.Context | None = None
    status: TargetStatus | None = None
    reason: Name | None = Field(default=None, description="Why it has its status, such as `forbidden`.")
    cursor: Cursor | None = None
    limit: Limit = 50


class StatusPage(View):
    """Statuses, newest target first."""

    statuses: list[StatusView]
    next_cursor: int | None = Field(description="Where the next page begins. Null: no more.")


class FailedAttempt(View):
    """An attempt that did not end in `applied`."""

    attempt: int
    version: int
    at: datetime
    outcome: str = Field(description="`retry`, `released`, `skipped` or `dead`, then a colon and the reason.")
    request: str | None = Field(description="The call that failed. Null: none was made.")
    code: int | None = Field(description="HTTP status. Null: no answer.")
    text: str | None = Field(description="The forge's words.")
    took_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWithAttempts(StatusView):
    """A status, what its check run is to say, and every attempt that did not end in `applied`."""

    output: Mapping[str, Any] | None
    failed_attempts: Sequence[FailedAttempt]


@router.put("", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=BODY_RESPONSES)
def publish_status(wanted: OneStatus, context: InContext) -> StatusAccepted:
    """
    Publish what a commit is to show.

    It replaces what was wanted there before under this context. 202 means that it is stored. Safe to repeat.
    """
    _refuse_unknown_forges(context, [wanted], indexed=False)
    return _publish(context, [wanted])[0]


@router.put("/batch", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=BODY_RESPONSES)
def publish_statuses(wanted: Batch, context: InContext) -> StatusesAccepted:
    """
    Publish up to 1,000 statuses.

    All or none are stored. Of several for one target the last counts.
    """
    _refuse_unknown_forges(context, wanted, indexed=True)
    return StatusesAccepted(statuses=_publish(context, wanted))


@router.get("", dependencies=[operates])
def list_statuses(asked: Annotated[StatusQuery, Query()], context: InContext) -> StatusPage:
    """
    List statuses, newest target first: what is wanted, and what the forge shows.

    All filters must match.
    """
    wanted = StatusFilter(**asked.model_dump(exclude={"cursor", "limit"}))
    with context.database.begin() as connection:
        found = list(listing.newest(connection, wanted, below=asked.cursor, limit=asked.limit))
    return StatusPage(statuses=found, next_cursor=found[-1].id if len(found) == asked.limit else None)


@router.get("/{status_id}", dependencies=[operates])
def get_status(status_id: StatusId, context: InContext) -> StatusWithAttempts:
    """
    Show a status with its attempts.

    Attempts that ended in `applied` are not listed.
    """
    with context.database.begin() as connection:
        known = _known(connection, status_id)
        output = listing.output_of(connection, status_id)
        attempts = [FailedAttempt.model_validate(one) for one in listing.attempts_of(connection, status_id)]
    return StatusWithAttempts(**asdict(known), output=output, failed_attempts=attempts)


@router.post("/{status_id}/retry", dependencies=[operates], responses=NOT_NOW)
def retry_status(status_id: StatusId, context: InContext) -> StatusView:
    """
    Make a status due now.

    For statuses that wait, or are dead, skipped or cancelled. Their history is kept.
    """
    return _act(context, by_hand.retry, status_id)


@router.post("/{status_id}/cancel", dependencies=[operates], responses=NOT_NOW)
def cancel_status(status_id: StatusId, context: InContext) -> StatusView:
    """
    Give up a status that waits.

    One that a worker is showing right now may still be shown. What is published later is shown again.
    """
    return _act(context, by_hand.cancel, status_id)


def _publish(context: Context, wanted: Sequence[StatusIn]) -> list[StatusAccepted]:
    with context.database.begin() as connection:
        receipts = publish(connection, wanted)
    context.doorbell.ring(STATUSES)
    return [StatusAccepted.model_validate(one) for one in receipts]


def _refuse_unknown_forges(context: Context, wanted: Sequence[StatusIn], *, indexed: bool) -> None:
    """
    An API process without a forges file takes any name; the worker's file decides.

    Raises:
        RefusedFields: The forges file does not have one of the names.
    """
    known = context.forges.by_name
    found = [
        FieldError(
            index=index if indexed else None, field="forge", reason=f"unknown forge; {instead_of(one.forge, known)}"
        )
        for index, one in enumerate(wanted)
        if known and one.forge not in known
    ]
    if found:
        raise RefusedFields(HTTPStatus.UNPROCESSABLE_ENTITY, found[:MAX_ERRORS])


def _act(context: Context, act: Callable[[Connection, Sequence[int]], list[int]], status_id: int) -> StatusView:
    with context.database.begin() as connection:
        before = _known(connection, status_id)
        if not act(connection, [status_id]):
            raise HTTPException(HTTPStatus.CONFLICT, f"status {status_id} is {before.status}, or a worker is at it")
        after = _known(connection, status_id)
    if after.status == TargetStatus.PENDING:
        context.doorbell.ring(STATUSES)
    return after


def _known(connection: Connection, status_id: int) -> StatusView:
    found = listing.view(connection, status_id)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no status has the id {status_id}")
    return found
