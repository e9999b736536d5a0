"""The schema of a status, the same for Python, REST and commands, with the same error messages."""

from collections.abc import Mapping
from dataclasses import asdict
from re import compile as pattern
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from notify.domain.errors import MalformedStatus
from notify.domain.similar_names import instead_of
from notify.domain.statuses import (
    CHECK_STATES,
    GITEA_STATES,
    Annotation,
    AnnotationLevel,
    CheckOutput,
    Status,
    StatusKind,
    StatusState,
)
from notify.intake.schema import (
    LINE_SHAPE,
    ONE_LINE,
    STORABLE,
    TEXT_SHAPE,
    Line,
    Strict,
    WebAddress,
    WrongField,
    expected,
)

# Longer than the forges take; what is longer than that is cut when it is shown.
MAX_TEXT = 200_000
MAX_CONTEXT = 255
MAX_TITLE = 255
MAX_PATH = 1_000
MAX_ANNOTATIONS = 1_000
MAX_LINE_NUMBER = 2**31 - 1
FORGE = r"[a-z0-9][a-z0-9-]{0,39}"
REPOSITORY = r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}"
SHA = r"[0-9a-f]{40}([0-9a-f]{24})?"


def _like(shape: str, words: str) -> tuple[Any, Any]:
    return expected(words, pattern(shape).fullmatch), Field(json_schema_extra={"pattern": f"^{shape}$"})


_FORGE = _like(FORGE, "the name of a forge in NOTIFY_FORGES_FILE, such as github")
_REPOSITORY = _like(REPOSITORY, "owner/name")
_SHA = _like(SHA, "the full hash of a commit, 40 or 64 hexadecimal digits in lower case")
ForgeName = Annotated[str, *_FORGE]
Repository = Annotated[str, *_REPOSITORY]
Sha = Annotated[str, *_SHA]
Context = Annotated[
    str, Field(min_length=1, max_length=MAX_CONTEXT, json_schema_extra={"pattern": LINE_SHAPE}), ONE_LINE
]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE, json_schema_extra={"pattern": LINE_SHAPE}), ONE_LINE]
Path = Annotated[str, Field(min_length=1, max_length=MAX_PATH, json_schema_extra={"pattern": LINE_SHAPE}), ONE_LINE]
Words = Annotated[str, Field(max_length=MAX_TEXT, json_schema_extra={"pattern": TEXT_SHAPE}), STORABLE]
Number = Annotated[int, Field(ge=1, le=MAX_LINE_NUMBER)]


class AnnotationIn(Strict):
    """What a check run says about lines of a file."""

    path: Path
    start_line: Number
    end_line: Number
    level: AnnotationLevel
    message: Annotated[Words, Field(min_length=1)]
    title: Title | None = None

    @field_validator("end_line")
    @classmethod
    def _after_start(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("start_line", value):
            msg = "expected a line not before start_line"
            raise ValueError(msg)
        return value


class OutputIn(Strict):
    """What a check run says, in Markdown; texts of more than 65,535 characters are cut when they are shown."""

    title: Title
    summary: Words
    text: Words | None = None
    annotations: Annotated[tuple[AnnotationIn, ...], Field(max_length=MAX_ANNOTATIONS)] = ()


class StatusIn(Strict):
    """What is to be shown on a commit."""

    forge: ForgeName
    repository: Repository
    sha: Sha
    context: Context
    kind: StatusKind = StatusKind.STATUS
    state: StatusState
    description: Line | None = Field(default=None, description="Cut to 140 characters when it is shown.")
    target_url: WebAddress | None = None
    output: OutputIn | None = Field(default=None, description="Of check runs only.")

    @field_validator("state")
    @classmethod
    def _of_the_kind(cls, value: StatusState, info: ValidationInfo) -> StatusState:
        kind = info.data.get("kind")
        known = CHECK_STATES if kind is StatusKind.CHECK_RUN else GITEA_STATES
        if kind is not None and value not in known:
            msg = f"expected a state that a {kind} has: {', '.join(sorted(known))}"
            raise ValueError(msg)
        return value

    @field_validator("output")
    @classmethod
    def _of_a_check_run(cls, value: OutputIn | None, info: ValidationInfo) -> OutputIn | None:
        if value is not None and info.data.get("kind") is StatusKind.STATUS:
            msg = "expected none: only a check_run has an output"
            raise ValueError(msg)
        return value

    def as_status(self) -> Status:
        """The same as a value of the domain."""
        stated = {name: getattr(self, name) for name in type(self).model_fields if name != "output"}
        return Status(**stated, output=None if self.output is None else output_of(self.output.model_dump()))


OBJECTS: Mapping[str, type[Strict]] = MappingProxyType({"output": OutputIn, "annotations": AnnotationIn})


def output_of(stored: Mapping[str, Any]) -> CheckOutput:
    """The output that was dumped."""
    annotations = tuple(
        Annotation(**{**one, "level": AnnotationLevel(one["level"])}) for one in stored.get("annotations", ())
    )
    return CheckOutput(**{**stored, "annotations": annotations})


def parse(item: object, *, index: int | None = None) -> StatusIn:
    """
    Validate one status.

    Raises:
        MalformedStatus: Naming the first field that is wrong, and why; with *index* in a batch.
    """
    checked = check(item)
    if isinstance(checked, StatusIn):
        return checked
    raise MalformedStatus(field=checked[0].field, reason=checked[0].reason, index=index)


def check(item: object) -> StatusIn | list[WrongField]:
    """The status that a mapping or a ``Status`` states, or every field of it that is wrong."""
    if isinstance(item, StatusIn):
        return item
    stated = asdict(item) if isinstance(item, Status) else item
    if not isinstance(stated, Mapping):
        return [WrongField("", f"expected an object, found {type(item).__name__}")]
    try:
        return StatusIn.model_validate(dict[str, Any](stated))
    except ValidationError as error:
        return [_wrong_field(one) for one in error.errors(include_url=False, include_input=False)]


def _wrong_field(error: Mapping[str, Any]) -> WrongField:
    *outer, name = error["loc"]
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        model = next((OBJECTS[one] for one in reversed(outer) if one in OBJECTS), StatusIn)
        reason = f"unknown field; {instead_of(str(name), model.model_fields)}"
    return WrongField(".".join(map(str, error["loc"])), reason)
