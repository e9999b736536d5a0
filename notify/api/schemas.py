"""Field types and models that several routers share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
)
from sqlalchemy import Connection

from notify.channels.email.writing import headers
from notify.channels.email.writing.headers import UnusableAddress
from notify.domain.errors import UnsafeHeader
from notify.domain.fan_out import Step
from notify.domain.schedule import PLAUSIBLE, is_plausible, is_zone
from notify.intake.explain import traces
from notify.intake.schema import ONE_LINE, Name, datetime_or_text, expected
from notify.store.outbox.jobs import NotificationView

LARGEST_ID = 2**63 - 1
LONGEST_ADDRESS = 254


def _is_sendable(address: str) -> bool:
    try:
        headers.address(address)
    except (UnusableAddress, UnsafeHeader):
        return False
    return True


def _hyphened(locale: str) -> str:
    """Source: RFC 5646 §2.1 and §2.1.1: hyphens separate the subtags of a language tag, and case does not matter."""
    return locale.replace("_", "-")


def _whole(number: object) -> object:
    """
    2.0 is 2.

    Source: JSON Schema, draft 2020-12, "Validation", §6.1.1: a number without a fraction is an integer.
    """
    return int(number) if isinstance(number, float) and number.is_integer() else number


Address = Annotated[
    str,
    Field(max_length=LONGEST_ADDRESS, json_schema_extra={"format": "email"}),
    ONE_LINE,
    expected("a bare address such as dana@example.com", _is_sendable),
]
Locale = Annotated[
    str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"), AfterValidator(_hyphened)
]
Timezone = Annotated[
    str,
    Field(max_length=64, json_schema_extra={"format": "iana-time-zone"}),
    expected("an IANA time zone such as Europe/Berlin", is_zone),
]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(datetime_or_text),
    expected(f"an instant from {PLAUSIBLE[0]:%Y} to before {PLAUSIBLE[1]:%Y}", is_plausible),
]
# For a StrictInt, after its Field: before it, the document would lose the limits.
WHOLE = BeforeValidator(_whole)
Weekday = Annotated[StrictInt, Field(ge=1, le=7), WHOLE]
Cursor = Annotated[int, Field(ge=1, le=LARGEST_ID, description="`next_cursor` of the previous page.")]
Limit = Annotated[int, Field(ge=1, le=200, description="Page size.")]
Username = Annotated[Name, Path(openapi_examples={"alice": {"value": "alice"}})]
Link = Annotated[
    Name, Path(description="Short name of the change list.", openapi_examples={"CL-4821": {"value": "CL-4821"}})
]
TOPIC = "Short name of the change list, or `queue:` and the name of a queue."
Topic = Annotated[
    Name,
    Path(
        description=TOPIC,
        openapi_examples={"CL-4821": {"value": "CL-4821"}, "queue": {"value": "queue:monorepo/main"}},
    ),
]
EventKey = Annotated[Name, Path(openapi_examples={"comment-8731": {"value": "comment-8731"}})]
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID)]


class View(BaseModel):
    """A response, built from the attributes of what the store returned."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedNotification(NotificationView):
    """What became of an event for one person, and the rules that decide about it, in order, evaluated now."""

    trace: Sequence[Step]


def explained(connection: Connection, found: Sequence[NotificationView]) -> list[ExplainedNotification]:
    rules = traces(connection, found)
    return [ExplainedNotification(**asdict(one), trace=rules[one.id]) for one in found]
