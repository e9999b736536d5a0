"""Events in, and what became of them."""

from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import Field

from notify.api.schemas import BatchAccepted, EventAccepted, EventOut, InPath, NotificationOut
from notify.domain.grammar import valid_traceparent
from notify.domain.stages import FAN_OUT
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import MOST_ERRORS, OF_BODIES, FieldError, RefusedFields, documented
from notify.intake.explain import traces
from notify.intake.receive import receive
from notify.intake.schema import EventIn
from notify.store.directory.tokens import Scope
from notify.store.outbox import jobs
from notify.store.outbox.events import Receipt

LARGEST_BATCH = 1_000

OF_EVENTS = OF_BODIES | documented(HTTPStatus.CONFLICT)

router = APIRouter(prefix="/api/v1/events", tags=["events"], responses=auth.REFUSALS)
may_write = auth.program_with(Scope.EVENTS_WRITE)
InTrace = Annotated[str | None, Header(description="W3C Trace Context: of events that state no trace of their own.")]
OneEvent = Annotated[EventIn, Depends(JsonBody(EventIn))]
Batch = Annotated[
    list[EventIn],
    Depends(JsonBody(Annotated[list[EventIn], Field(max_length=LARGEST_BATCH, fail_fast=True)])),
]
may_read = auth.program_with(Scope.EVENTS_WRITE, Scope.OPS)


@router.post("", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=OF_EVENTS)
def post_event(event: OneEvent, context: InContext, traceparent: InTrace = None) -> EventAccepted:
    """Store one event. The answer means that it is durable; the same event with its key again changes nothing."""
    with context.database.begin() as connection:
        receipts = receive(connection, [event], traceparent=valid_traceparent(traceparent))
        _refuse_others(receipts, indexed=False)
    context.doorbell.ring(FAN_OUT)
    return EventAccepted.model_validate(receipts[0])


@router.post("/batch", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=OF_EVENTS)
def post_events(events: Batch, context: InContext, traceparent: InTrace = None) -> BatchAccepted:
    """Store all of these events, or, when one of them is malformed or has the key of another event, none."""
    with context.database.begin() as connection:
        receipts = receive(connection, events, traceparent=valid_traceparent(traceparent))
        _refuse_others(receipts, indexed=True)
    context.doorbell.ring(FAN_OUT)
    duplicates = sum(receipt.duplicate for receipt in receipts)
    return BatchAccepted(accepted=len(receipts) - duplicates, duplicates=duplicates)


@router.get("/{key:path}", dependencies=[may_read])
def get_event(key: InPath, context: InContext) -> EventOut:
    """The event with this key, and for each person it concerns what became of it, and which rules say so."""
    with context.database.begin() as connection:
        event = jobs.of_event(connection, key)
        if event is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no event has the key {key}")
        found = traces(connection, event.people)
    told = [NotificationOut(**asdict(one), trace=list(found[one.id])) for one in event.people]
    return EventOut(**asdict(event) | {"people": told})


def _refuse_others(receipts: Sequence[Receipt], *, indexed: bool) -> None:
    """
    Refuse what has the key of another event.

    Raises:
        RefusedFields: There is a difference.
    """
    found = [
        FieldError(
            index=index if indexed else None,
            field=field,
            reason=f"differs from the event that is stored with the key {receipt.key}",
        )
        for index, receipt in enumerate(receipts)
        for field in receipt.differs
    ]
    if found:
        raise RefusedFields(HTTPStatus.CONFLICT, found[:MOST_ERRORS])
