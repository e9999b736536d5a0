"""Finds the person for whom our app opened a pull request."""

from dataclasses import dataclass
from email.utils import parseaddr
from re import MULTILINE
from re import compile as pattern

ON_BEHALF_OF = "on-behalf-of"
_TRAILER = pattern(r"[A-Za-z0-9][A-Za-z0-9-]*:[ \t]*\S.*")
_PARAGRAPHS = pattern(r"\n(?:[ \t]*\n)+")
_LOGIN = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LINE_ENDS = pattern(r"\r\n?", MULTILINE)


@dataclass(frozen=True, slots=True)
class Trailer:
    """The person a trailer names, by login or by email address; the other is None."""

    login: str | None
    email: str | None


def on_behalf_of(description: str) -> Trailer | None:
    """
    The person named by ``On-behalf-of:`` in the last block of trailers; None: nobody is.

    Only the last paragraph counts, and only if every line of it is a trailer, as git reads them.

    Source: git-interpret-trailers(1).
    """
    paragraphs = _PARAGRAPHS.split(_LINE_ENDS.sub("\n", description).strip())
    lines = paragraphs[-1].split("\n") if len(paragraphs) > 1 or paragraphs[0] else []
    if not lines or not all(_TRAILER.fullmatch(line.strip()) for line in lines):
        return None
    for line in reversed(lines):
        name, _, value = line.strip().partition(":")
        if name.lower() == ON_BEHALF_OF:
            return _named(value.strip())
    return None


def _named(value: str) -> Trailer | None:
    _, address = parseaddr(value)
    if "@" in address.strip("@"):
        return Trailer(None, address)
    login = value.removeprefix("@")
    return Trailer(login, None) if _LOGIN.fullmatch(login) else None
