"""The shape of an event at every door: Python, REST and Celery refuse the same things with the same words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from re import compile as pattern
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
)

from notify.domain.errors import MalformedEvent
from notify.intake.triggers import TRIGGERS

LONGEST_NAME = 200
LONGEST_LINE = 1_000
LONGEST_BODY = 500_000
CONTROL = pattern(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(value: str) -> str:
    """
    The value, if it may stand in a header, a log line and a table.

    Raises:
        ValueError: It holds a line break, NUL or another control character.
    """
    if CONTROL.search(value):
        msg = "expected one line without control characters"
        raise ValueError(msg)
    return value


def storable(value: str) -> str:
    """
    The value, if PostgreSQL can store it.

    Raises:
        ValueError: It holds NUL.
    """
    if "\x00" in value:
        msg = "expected text without NUL characters"
        raise ValueError(msg)
    return value


def web_address(value: str) -> str:
    """
    The value, if a letter may link to it.

    Raises:
        ValueError: It is not an absolute http or https URL.
    """
    if not value.lower().startswith(("http://", "https://")) or any(c.isspace() for c in value):
        msg = "expected an absolute http:// or https:// URL"
        raise ValueError(msg)
    return value


def in_utc(value: datetime) -> datetime:
    """
    The same instant in UTC.

    Raises:
        ValueError: It is not in the years 1 to 9999 there; PostgreSQL would store it and nobody could read it again.
    """
    try:
        return value.astimezone(UTC)
    except OverflowError:
        msg = "expected an instant in the years 1 to 9999, UTC"
        raise ValueError(msg) from None


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^\S(.*\S)?$"), AfterValidator(one_line)]
Line = Annotated[str, Field(min_length=1, max_length=LONGEST_LINE), AfterValidator(one_line)]
Body = Annotated[str, Field(min_length=1, max_length=LONGEST_BODY), AfterValidator(storable)]
Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]
WebAddress = Annotated[str, Field(max_length=2_000), AfterValidator(one_line), AfterValidator(web_address)]


class Strict(BaseModel):
    """Unknown fields are refused: a typo must not be silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChangeListIn(Strict):
    """The change list an event happened on. Facts besides the link update the directory; absent ones do not."""

    link: Name = Field(description="Short name of the change list.", examples=["CL-4821"])
    title: Line | None = Field(default=None, description="One line.")
    url: WebAddress | None = Field(default=None, description="Page of the change list.")
    repository: Name | None = Field(default=None, description="Repository, for the subject of letters.")
    author: Name | None = Field(default=None, description="Username of the author.")
    reviewers: list[Name] | None = Field(
        default=None, max_length=1_000, description="Usernames; replaces the known ones. Absent: they stay."
    )

    @property
    def states_facts(self) -> bool:
        """Whether anything but the link was given."""
        return bool(self.model_fields_set - {"link"})


class CommentIn(Strict):
    """What was said, where."""

    id: Name = Field(description="The comment's id in the code review tool.")
    body: Body = Field(description="Markdown.")
    url: WebAddress | None = Field(default=None, description="Where the comment can be read.")
    path: Line | None = Field(default=None, description="File it is about; absent for a comment on the whole.")
    line: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Line of that file, from 1.")
    code: Annotated[str, Field(max_length=10_000), AfterValidator(storable)] | None = Field(
        default=None, description="The lines of that file that it is about."
    )


class EventIn(Strict):
    """One event, as a producer states it."""

    key: Name | None = Field(default=None, description="Idempotency key; absent: every call is a new event.")
    type: Name = Field(description="What happened.", json_schema_extra={"enum": list[JsonValue](sorted(TRIGGERS))})
    actor: Name = Field(description="Username of who did it.")
    occurred_at: Instant | None = Field(default=None, description="With its offset; absent: now.")
    cl: ChangeListIn
    comment: CommentIn

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in TRIGGERS:
            msg = f"unknown event type; known are: {', '.join(sorted(TRIGGERS))}"
            raise ValueError(msg)
        return value


def parse(item: object, *, index: int | None = None) -> EventIn:
    """
    The event that a mapping states.

    Raises:
        MalformedEvent: Naming the first field that is wrong, and why; with *index* in a batch.
    """
    if isinstance(item, EventIn):
        return item
    if not isinstance(item, Mapping):
        raise MalformedEvent(field="", reason=f"expected an object, found {type(item).__name__}", index=index)
    try:
        return EventIn.model_validate(dict[str, Any](item))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise MalformedEvent(
            field=".".join(str(part) for part in first["loc"]),
            reason=first["msg"].removeprefix("Value error, "),
            index=index,
        ) from None
