"""The schema of an event, the same for Python, REST and Celery, with the same error messages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from re import compile as pattern
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from notify.domain import events
from notify.domain.errors import MalformedEvent
from notify.domain.grammar import TRACEPARENT, WEB_ADDRESS, is_web_address, valid_traceparent
from notify.domain.similar_names import instead_of
from notify.intake.triggers import OWN_TRIGGERS, TRIGGERS, custom_type, emittable

Payload = TypeVar("Payload", bound=BaseModel | None)

MAX_NAME = 200
MAX_LINE = 1_000
MAX_BODY = 500_000
MAX_UNKNOWN = 20
NEEDED: Mapping[str, str] = MappingProxyType(
    {events.COMMENT_CREATED: "comment", events.REVIEW_SUBMITTED: "review", events.REVIEW_REQUESTED: "request"}
)
CHANGE = "change"
PAYLOAD_OBJECTS = (*NEEDED.values(), CHANGE)
WITHOUT_CHANGE = frozenset({events.COMMENT_CREATED, events.REVIEW_SUBMITTED})
INSTANT = pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
CONTROL = pattern(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def expected(words: str, is_right: Callable[[Any], object]) -> AfterValidator:
    """A validator that refuses a value unless *is_right*, and says what was expected."""

    def check(value: Any) -> Any:  # noqa: ANN401 - whatever the field holds
        if not is_right(value):
            msg = f"expected {words}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


ONE_LINE = expected("one line without control characters", lambda text: not CONTROL.search(text))
STORABLE = expected("text without NUL characters", lambda text: "\x00" not in text)


def datetime_or_text(value: object) -> object:
    """
    The value, if it is a datetime or written as one.

    Raises:
        ValueError: It is something else, such as a number, which could be seconds or milliseconds.
    """
    if isinstance(value, datetime) or (isinstance(value, str) and INSTANT.match(value)):
        return value
    msg = "expected an instant with its offset, such as 2026-03-02T09:00:00+01:00"
    raise ValueError(msg)


def in_utc(value: datetime) -> datetime:
    """
    The same instant in UTC.

    Raises:
        ValueError: It is outside the years 1 to 9999 in UTC; PostgreSQL would store it, but Python could not read it.
    """
    try:
        return value.astimezone(UTC)
    except OverflowError:
        msg = "expected an instant in the years 1 to 9999, UTC"
        raise ValueError(msg) from None


# The validators' rules as patterns for OpenAPI.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
NAME_SHAPE = rf"^[^\s{_UNSEEN}]([^{_UNSEEN}]*[^\s{_UNSEEN}])?$"
LINE_SHAPE = rf"^[^{_UNSEEN}]*$"
TEXT_SHAPE = r"^[^\x00]*$"
Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME, pattern=r"^\S(.*\S)?$", json_schema_extra={"pattern": NAME_SHAPE}),
    ONE_LINE,
]
Line = Annotated[str, Field(min_length=1, max_length=MAX_LINE, json_schema_extra={"pattern": LINE_SHAPE}), ONE_LINE]
Body = Annotated[str, Field(min_length=1, max_length=MAX_BODY, json_schema_extra={"pattern": TEXT_SHAPE}), STORABLE]
Code = Annotated[str, Field(max_length=10_000, json_schema_extra={"pattern": TEXT_SHAPE}), STORABLE]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Instant = Annotated[AwareDatetime, BeforeValidator(datetime_or_text), AfterValidator(in_utc)]
Trace = Annotated[
    str,
    expected("00-<32 hexadecimal digits>-<16>-<2>, in lower case", valid_traceparent),
    Field(json_schema_extra={"pattern": f"^{TRACEPARENT}$"}),
]
WebAddress = Annotated[
    str,
    Field(max_length=2_000, json_schema_extra={"pattern": f"^{WEB_ADDRESS}$"}),
    ONE_LINE,
    expected("an absolute http:// or https:// URL without spaces, quotes, < and >", is_web_address),
]


def fits_event_type(value: Payload, info: ValidationInfo) -> Payload:
    """
    The payload object, if it fits the event's type.

    Raises:
        ValueError: The type requires the object and it is absent, or the type does not have it.
    """
    event_type, name = info.data.get("type"), info.field_name
    if event_type and value is None and NEEDED.get(event_type) == name:
        msg = f"required by {event_type}"
        raise ValueError(msg)
    if event_type and value is not None and name not in payload_objects_of(event_type):
        msg = f"events of type {event_type} do not have it"
        raise ValueError(msg)
    return value


def payload_objects_of(event_type: str) -> tuple[str, ...]:
    """The payload objects of this event type: first the required one, if any; ``change`` is optional."""
    needed = (NEEDED[event_type],) if event_type in NEEDED else ()
    return needed if event_type in WITHOUT_CHANGE else (*needed, CHANGE)


def objects_by_type(schema: dict[str, Any]) -> None:
    """State in the JSON Schema which event types there are, and which of them has which payload objects."""
    types: dict[tuple[str, ...], list[str]] = {}
    for event_type in emittable():
        types.setdefault(payload_objects_of(event_type), []).append(event_type)
    schema["properties"]["type"]["enum"] = list(emittable())
    schema["oneOf"] = [_event_types(names, found) for names, found in types.items()]


def _event_types(names: Sequence[str], types: Sequence[str]) -> dict[str, Any]:
    needed = [name for name in names if name != CHANGE]
    foreign = {other: {"type": "null"} for other in PAYLOAD_OBJECTS if other not in names}
    objects = {name: {"type": "object"} for name in needed}
    return {"properties": {"type": {"enum": types}, **foreign, **objects}} | ({"required": needed} if needed else {})


class Strict(BaseModel):
    """A model that refuses unknown fields, because a typo must not be ignored; it names at most 20 of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_unknown_fields(cls, given: object) -> object:
        """Keep only the first unknown fields: refusing a hundred thousand would be expensive."""
        known = cls.model_fields
        if not isinstance(given, dict) or len(given) <= len(known) + MAX_UNKNOWN:
            return given
        unknown = islice((name for name in given if name not in known), MAX_UNKNOWN)
        return {name: given[name] for name in known if name in given} | {name: given[name] for name in unknown}


class ChangeListIn(Strict):
    """The change list an event is about. Facts besides the link update the directory; absent ones do not."""

    link: Name = Field(description="Short name of the change list.", examples=["CL-4821"])
    title: Line | None = Field(default=None, description="One line.")
    url: WebAddress | None = Field(default=None, description="Page of the change list.")
    repository: Name | None = Field(default=None, description="Repository, for the subject of emails.")
    author: Name | None = Field(default=None, description="Username of the author.")
    reviewers: list[Name] | None = Field(
        default=None,
        max_length=1_000,
        fail_fast=True,
        description="Usernames; replaces the known ones. Absent: they stay.",
    )

    @property
    def states_facts(self) -> bool:
        """Whether anything but the link was given."""
        return bool(self.model_fields_set - {"link"})


class CommentIn(Strict):
    """One comment."""

    id: Name = Field(description="The comment's id in the code review tool.")
    body: Body = Field(description="Markdown.")
    url: WebAddress | None = Field(default=None, description="Where the comment can be read.")
    path: Line | None = Field(default=None, description="File it is about; absent for a comment on the whole.")
    line: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Line of that file, from 1.")
    code: Code | None = Field(default=None, description="The lines of that file that it is about.")


class ReviewIn(Strict):
    """A submitted review with its comments. One event, however many comments."""

    id: Name = Field(description="The review's id in the code review tool.")
    state: Literal["approved", "changes_requested", "commented"] = Field(description="The reviewer's decision.")
    body: Body | None = Field(default=None, description="Markdown.")
    url: WebAddress | None = Field(default=None, description="Where the review can be read.")
    comments: list[CommentIn] | None = Field(
        default=None, max_length=100, fail_fast=True, description="The comments made in it."
    )


class RequestIn(Strict):
    """The people asked for a review."""

    reviewers: list[Name] = Field(
        min_length=1, max_length=100, fail_fast=True, description="Usernames; only they are notified."
    )


class ChangeIn(Strict):
    """What the change list changes, and what happened to it."""

    summary: Body | None = Field(default=None, description="The description, or what is new. Markdown.")
    revision: Line | None = Field(default=None, description="The revision it is about, in one line.")
    files: Count | None = Field(default=None, description="How many files it changes.")
    added: Count | None = Field(default=None, description="How many lines it adds.")
    removed: Count | None = Field(default=None, description="How many lines it removes.")
    url: WebAddress | None = Field(default=None, description="Where it can be seen.")


class EventIn(Strict):
    """One event, as a producer states it. Its type says which of the last four fields it may have."""

    model_config = ConfigDict(json_schema_extra=objects_by_type)

    key: Name | None = Field(default=None, description="Idempotency key; absent: every call is a new event.")
    type: Name = Field(description="What happened.")
    actor: Name = Field(description="Username of who did it.")
    occurred_at: Instant | None = Field(
        default=None, description="With its offset, at most five minutes ahead; absent: now."
    )
    traceparent: Trace | None = Field(
        default=None, description="Trace in which it happened (W3C Trace Context, version 00); absent: the call's own."
    )
    cl: ChangeListIn
    comment: Annotated[CommentIn | None, AfterValidator(fits_event_type)] = Field(
        default=None, validate_default=True, description="Needed by cl.comment.created, refused by the others."
    )
    review: Annotated[ReviewIn | None, AfterValidator(fits_event_type)] = Field(
        default=None, validate_default=True, description="Needed by cl.review.submitted, refused by the others."
    )
    request: Annotated[RequestIn | None, AfterValidator(fits_event_type)] = Field(
        default=None, validate_default=True, description="Needed by cl.review.requested, refused by the others."
    )
    change: Annotated[ChangeIn | None, AfterValidator(fits_event_type)] = Field(
        default=None,
        validate_default=True,
        description="Optional; refused by cl.comment.created and cl.review.submitted.",
    )

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value in OWN_TRIGGERS:
            msg = f"only notify itself emits {value}"
            raise ValueError(msg)
        if value not in TRIGGERS and custom_type(value) is None:
            msg = f"unknown event type; known are: {', '.join(emittable())}"
            raise ValueError(msg)
        return value


OBJECTS: Mapping[str, type[Strict]] = MappingProxyType(
    {
        "cl": ChangeListIn,
        "comment": CommentIn,
        "comments": CommentIn,
        "review": ReviewIn,
        "request": RequestIn,
        "change": ChangeIn,
    }
)
"""What the objects within an event are, by the field that has them."""


@dataclass(frozen=True, slots=True)
class WrongField:
    """Dotted path of a field, empty for the whole event; what is wrong with it or what was expected."""

    field: str
    reason: str


def parse(item: object, *, index: int | None = None) -> EventIn:
    """
    Validate one event.

    Raises:
        MalformedEvent: Naming the first field that is wrong, and why; with *index* in a batch.
    """
    checked = check(item)
    if isinstance(checked, EventIn):
        return checked
    raise MalformedEvent(field=checked[0].field, reason=checked[0].reason, index=index)


def check(item: object) -> EventIn | Sequence[WrongField]:
    """The event that a mapping states, or every field of it that is wrong."""
    if isinstance(item, EventIn):
        return item
    if not isinstance(item, Mapping):
        return [WrongField("", f"expected an object, found {type(item).__name__}")]
    try:
        return EventIn.model_validate(dict[str, Any](item))
    except ValidationError as error:
        return wrong_fields(error)


def wrong_fields(error: ValidationError) -> Sequence[WrongField]:
    """Every field that is wrong."""
    return [_wrong_field(one) for one in error.errors(include_url=False, include_input=False)]


def _wrong_field(error: Mapping[str, Any]) -> WrongField:
    *outer, name = error["loc"]
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        model = next((OBJECTS[one] for one in reversed(outer) if one in OBJECTS), EventIn)
        reason = f"unknown field; {instead_of(str(name), model.model_fields)}"
    return WrongField(".".join(map(str, error["loc"])), reason)
