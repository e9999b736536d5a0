"""Event types, for operators: their defaults, expiry and bundling."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import ConfigDict, Field, StrictBool, StrictInt, model_validator

from notify.api.schemas import WHOLE
from notify.domain.custom_types import MAX_CODE
from notify.domain.similar_names import instead_of
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import BODY_RESPONSES, documented
from notify.intake.schema import Strict
from notify.store.directory import event_types
from notify.store.directory.event_types import (
    MAX_BUNDLE_SECONDS,
    MAX_EXPIRY_SECONDS,
    EventTypeChanges,
    StoredEventType,
)
from notify.store.directory.tokens import Scope

router = APIRouter(
    prefix="/api/v1/event-types",
    tags=["event types"],
    dependencies=[auth.program_with(Scope.OPS)],
    responses=auth.REFUSALS,
)
Code = Annotated[
    str, Path(pattern=r"^[a-z0-9_.]+$", max_length=MAX_CODE, openapi_examples={"cl.updated": {"value": "cl.updated"}})
]


class EventTypeIn(Strict):
    """What to change of an event type, at least one thing. Absent fields stay."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    default_enabled: StrictBool = Field(default=True, description="Whether it is on without a stored preference.")
    system_required: StrictBool = Field(default=False, description="Nobody can switch it off.")
    expires_after_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_EXPIRY_SECONDS), WHOLE] = Field(
        default=259_200, description="For how long its emails are still sent."
    )
    bundle_seconds: Annotated[StrictInt, Field(ge=0, le=MAX_BUNDLE_SECONDS), WHOLE] | None = Field(
        default=None, description="For how long its emails are bundled; 0: never; null: `NOTIFY_BUNDLE_SECONDS`."
    )

    @model_validator(mode="after")
    def _says_something(self) -> "EventTypeIn":
        if not self.model_fields_set:
            msg = f"expected at least one of {', '.join(type(self).model_fields)}"
            raise ValueError(msg)
        return self


@router.get("")
def list_event_type_settings(context: InContext) -> Sequence[StoredEventType]:
    """List all event types."""
    with context.database.begin() as connection:
        return event_types.every(connection)


@router.patch("/{code}", responses=BODY_RESPONSES | documented(HTTPStatus.NOT_FOUND))
def change_event_type_settings(
    code: Code,
    given: Annotated[EventTypeIn, Depends(JsonBody(EventTypeIn, example={"default_enabled": False}))],
    context: InContext,
) -> StoredEventType:
    """
    Change an event type.

    Running workers go by it from their next batch on. Emails that wait are decided again when they leave.
    """
    changes = cast("EventTypeChanges", given.model_dump(exclude_unset=True))
    with context.database.begin() as connection:
        found = event_types.change(connection, code, changes)
        if found is None:
            known = [one.code for one in event_types.every(connection)]
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no event type {code}; {instead_of(code, known)}")
    return found
