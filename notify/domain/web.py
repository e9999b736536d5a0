"""What an address on the web is. Every door takes what this module takes, and all of that can be linked to."""

from re import compile as pattern

# What ends an attribute, a tag, a word or a line would lead elsewhere, or to nothing.
SHAPE = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\x00-\x1f\x7f-\x9f<>\"/?#][^\s\x00-\x1f\x7f-\x9f<>\"]*$"

_SHAPE = pattern(SHAPE.removeprefix("^").removesuffix("$"))


def is_web_address(text: str) -> bool:
    """Whether it is an absolute http or https URL that an email can link to."""
    return _SHAPE.fullmatch(text) is not None
