"""Reads the fields of bodies, and refuses what GitHub's description does not allow."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from notify.embedded.forge.routes.refusals import Invalid, InvalidRequest
from notify.embedded.forge.shapes.repository_shapes import Json, text


def words(fields: Json, name: str, *, required: bool = False, longest: int | None = None) -> str | None:
    """
    A text; None: there is none.

    Raises:
        InvalidRequest: It is something else, is missing though required, or is too long.
    """
    found = fields.get(name)
    if found is None and not required:
        return None
    if not isinstance(found, str):
        raise InvalidRequest(f"For 'properties/{name}', {found!r} is not a string.")
    if required and not found:
        raise InvalidRequest(f"For 'properties/{name}', it must not be empty.")
    if longest is not None and len(found) > longest:
        raise InvalidRequest(f"Only {longest} characters are allowed; {len(found)} were supplied.")
    return found


def one_of(fields: Json, name: str, allowed: Sequence[str]) -> str | None:
    """
    Raises:
        InvalidRequest: It is none of the values that are allowed.
    """
    found: Any = fields.get(name)
    if found is not None and found not in allowed:
        raise InvalidRequest(f"For 'properties/{name}', {found!r} is not a member of {list(allowed)}.")
    return found  # type: ignore[no-any-return]


def link(fields: Json, name: str, *, resource: str) -> str | None:
    """
    Raises:
        Invalid: It does not lead to the web.
    """
    found = words(fields, name)
    if found and not found.startswith(("http://", "https://")):
        raise Invalid(resource, name, "must use http(s) scheme")
    return found or None


def instant(fields: Json, name: str) -> str | None:
    """
    An instant in the form of the API.

    Raises:
        InvalidRequest: It is none, or has no time zone.
    """
    found = words(fields, name)
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(f"For 'properties/{name}', {found!r} is not a valid date-time.")
    return text(at.astimezone(UTC))


def line(fields: Json, name: str, *, required: bool = True) -> int | None:
    """
    The number of a line or column.

    Raises:
        InvalidRequest: It is none, or is missing though required.
    """
    found = fields.get(name)
    if found is None and not required:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise InvalidRequest(f"For 'properties/{name}', {found!r} is not a positive integer.")
    return found
