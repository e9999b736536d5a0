"""Emit events, and see what became of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import Field

from notify.api import examples
from notify.api.schemas import EventKey, View, explained
from notify.domain.audience import Reason
from notify.domain.errors import NoSuchEvent, NotWithdrawable
from notify.domain.fan_out import Step
from notify.domain.grammar import valid_traceparent
from notify.domain.stages import FAN_OUT
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import BODY_RESPONSES, MAX_ERRORS, FieldError, RefusedFields, documented
from notify.intake.receive import receive
from notify.intake.schema import EventIn
from notify.intake.withdraw import withdraw
from notify.store.directory.tokens import Scope
from notify.store.outbox import jobs
from notify.store.outbox.events import Receipt
from notify.store.outbox.jobs import EventView

LARGEST_BATCH = 1_000
OF_EVENTS = BODY_RESPONSES | documented(HTTPStatus.CONFLICT)

router = APIRouter(prefix="/api/v1/events", tags=["events"], responses=auth.REFUSALS)
may_write = auth.program_with(Scope.EVENTS_WRITE)
InTrace = Annotated[
    str | None, Header(description="W3C Trace Context, for events without a `traceparent` of their own.")
]
OneEvent = Annotated[EventIn, Depends(JsonBody(EventIn, example=examples.EVENT))]
Batch = Annotated[
    list[EventIn],
    Depends(
        JsonBody(
            Annotated[list[EventIn], Field(max_length=LARGEST_BATCH, fail_fast=True)],
            example=[examples.EVENT, examples.MERGED],
        )
    ),
]
may_read = auth.program_with(Scope.EVENTS_WRITE, Scope.OPS)


class EventAccepted(View):
    """The event is stored and will be fanned out."""

    id: int
    key: str = Field(description="The idempotency key, given or generated.")
    duplicate: bool = Field(description="This event was stored before; nothing changed.")
    withdrawn: bool = Field(description="The stored event was withdrawn: nobody is told of it.")


class BatchAccepted(View):
    """All events of the batch are stored and will be fanned out."""

    accepted: int = Field(description="New events.")
    duplicates: int = Field(description="Events that were stored before; they changed nothing.")


class WithdrawnPersonOut(View):
    """What became of a withdrawn event for one person."""

    username: str
    reason: Reason = Field(description="Why the event concerns the person.")
    status: str = Field(
        description="`withdrawn`; or what was too late to withdraw, such as `sending`, `sent` or `skipped`."
    )
    why: str | None = Field(description="Why it was skipped, or why the job is dead, expired or cancelled.")


class EventWithdrawn(View):
    """The event is withdrawn: nobody more is told of it."""

    id: int
    key: str
    people: list[WithdrawnPersonOut] = Field(description="Everyone it concerns; empty if it was not fanned out.")


class PersonOut(View):
    """What became of the event for one person."""

    username: str
    event_type: str = Field(
        description="The event type that applies to this person: `cl.comment.mentioned` if they are mentioned."
    )
    reason: Reason = Field(description="Why the event concerns the person.")
    status: str
    why: str | None = Field(description="Why it was skipped, or why the job is dead, expired or cancelled.")
    job_id: int | None = Field(description="The email job; its email may be about more events. Null: skipped.")
    due_at: datetime | None = Field(
        description="When a pending email leaves at the earliest: later than now if it is bundled or deferred."
    )
    deferred_by: str | None = Field(description="What it waits or waited for, such as `daily`. Null: nothing.")
    message_id: str | None
    trace: list[Step] = Field(description="The rules that decide, in order, evaluated now; the last one decides.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOut(EventView):
    """An event, and what became of it for everyone it concerns."""

    people: Sequence[PersonOut]


@router.post("", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=OF_EVENTS)
def emit_event(event: OneEvent, context: InContext, traceparent: InTrace = None) -> EventAccepted:
    """
    Emit one event.

    202 means that the event is stored. Sending the same event with the same `key` again changes nothing; a different
    event with that key is refused with 409.
    """
    with context.database.begin() as connection:
        receipts = receive(connection, [event], traceparent=valid_traceparent(traceparent))
        _refuse_others(receipts, indexed=False)
    context.doorbell.ring(FAN_OUT)
    return EventAccepted.model_validate(receipts[0])


@router.post("/batch", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=OF_EVENTS)
def emit_events(events: Batch, context: InContext, traceparent: InTrace = None) -> BatchAccepted:
    """
    Emit up to 1,000 events.

    All or none are stored: one event that is malformed, or has the key of a different event, refuses the batch.
    """
    with context.database.begin() as connection:
        receipts = receive(connection, events, traceparent=valid_traceparent(traceparent))
        _refuse_others(receipts, indexed=True)
    context.doorbell.ring(FAN_OUT)
    duplicates = sum(receipt.duplicate for receipt in receipts)
    return BatchAccepted(accepted=len(receipts) - duplicates, duplicates=duplicates)


@router.get("/{key:path}", dependencies=[may_read])
def get_event(key: EventKey, context: InContext) -> EventOut:
    """
    Show an event and what became of it for each person.

    Each person comes with the rules that decide, evaluated as of now.
    """
    with context.database.begin() as connection:
        event = jobs.of_event(connection, key)
        if event is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no event has the key {key}")
        people = [PersonOut.model_validate(one) for one in explained(connection, event.people)]
    return EventOut(**asdict(event) | {"people": people})


@router.delete("/{key:path}", dependencies=[may_write], responses=documented(HTTPStatus.CONFLICT))
def withdraw_event(key: EventKey, context: InContext) -> EventWithdrawn:
    """
    Withdraw an event: people who have not been told of it yet are not told.

    The answer says what became of it for each person. An email about several events is sent without this one. Safe to
    repeat. The key stays known. What notify emitted itself is refused with 409.
    """
    try:
        with context.database.begin() as connection:
            return EventWithdrawn.model_validate(withdraw(connection, key))
    except NoSuchEvent:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no event has the key {key}") from None
    except NotWithdrawable as refused:
        raise HTTPException(HTTPStatus.CONFLICT, str(refused)) from None


def _refuse_others(receipts: Sequence[Receipt], *, indexed: bool) -> None:
    """
    Raises:
        RefusedFields: One has the key of another event.
    """
    found = [
        FieldError(
            index=index if indexed else None,
            field=field,
            reason=f"differs from the event stored with the key {receipt.key}",
        )
        for index, receipt in enumerate(receipts)
        for field in receipt.differs
    ]
    if found:
        raise RefusedFields(HTTPStatus.CONFLICT, found[:MAX_ERRORS])
