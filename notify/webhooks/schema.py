"""What operators say of a webhook endpoint, the same for REST and commands, with the same error messages."""

from collections.abc import Mapping, Sequence
from re import compile as pattern
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator

from notify.domain.errors import Malformed
from notify.domain.webhooks import INCLUDABLE, TEST, TYPES
from notify.intake.schema import Strict, expected

NAME = r"[a-z0-9][a-z0-9_.-]{0,63}"
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
# A name whose labels are too long cannot be looked up; a user and password would be in every list.
URL = rf"https?://{_LABEL}(\.{_LABEL}){{0,9}}(:{_PORT})?([/?][A-Za-z0-9/?:@!$&'()*+,;=._~%-]*)?"
LONGEST_URL = 2_000

Checked = TypeVar("Checked", bound=Strict)


class MalformedEndpoint(Malformed):
    """The webhook endpoint is not well-formed; nothing was changed."""


def _like(shape: str, words: str) -> tuple[Any, Any]:
    return expected(words, pattern(shape).fullmatch), Field(json_schema_extra={"pattern": f"^{shape}$"})


def _one_of(known: Sequence[str]) -> tuple[Any, Any]:
    words = f"one of {', '.join(known)}"
    return expected(words, frozenset(known).__contains__), Field(json_schema_extra={"enum": [*known]})


def _once_each(given: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(given)]


_NAME = _like(NAME, "up to 64 lower-case letters, digits, hyphens, dots and underscores, such as crm")
_URL = _like(URL, "https://HOST/PATH with a host name or an IPv4 address, in ASCII, without a user, a password and #")
_TYPE, _INCLUDED = _one_of(TYPES), _one_of(INCLUDABLE)
_CALL_TYPE = _one_of((*TYPES, TEST))
EndpointName = Annotated[str, *_NAME]
CallType = Annotated[str, *_CALL_TYPE]
EndpointUrl = Annotated[str, Field(max_length=LONGEST_URL), *_URL]
Types = Annotated[list[Annotated[str, *_TYPE]], Field(min_length=1, max_length=100), AfterValidator(_once_each)]
Included = Annotated[list[Annotated[str, *_INCLUDED]], Field(max_length=100), AfterValidator(_once_each)]

_OF_URL = "Only a network in `NOTIFY_WEBHOOK_NETWORKS` is called without TLS."
_OF_TYPES = "The outcomes that it is told of."
_OF_INCLUDE = "What calls contain besides ids: the email's `address`, the event's `payload`."


class EndpointIn(Strict):
    """A webhook endpoint to add."""

    name: EndpointName = Field(description="What operators call it.")
    url: EndpointUrl = Field(description=_OF_URL)
    types: Types = Field(description=_OF_TYPES)
    include: Included = Field(default=[], description=_OF_INCLUDE)


class EndpointChangesIn(Strict):
    """What to change of a webhook endpoint, at least one thing. Absent fields stay."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: EndpointUrl = Field(default_factory=str, description=_OF_URL)
    types: Types = Field(default_factory=list, description=_OF_TYPES)
    include: Included = Field(default_factory=list, description=_OF_INCLUDE)
    enabled: StrictBool = Field(default=True, description="False: it is told of nothing, and calls that wait end.")

    @model_validator(mode="after")
    def _says_something(self) -> "EndpointChangesIn":
        if not self.model_fields_set:
            msg = f"expected at least one of {', '.join(type(self).model_fields)}"
            raise ValueError(msg)
        return self


def parse(model: type[Checked], given: Mapping[str, object]) -> Checked:
    """
    Validate what a command was given.

    Raises:
        MalformedEndpoint: Naming the first field that is wrong, and why.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    raise MalformedEndpoint(field=field, reason=first["msg"].removeprefix("Value error, "))
