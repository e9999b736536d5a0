"""Parses posted forms in one pass, in the encodings of browsers and of one-click unsubscribing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from re import IGNORECASE
from re import compile as pattern
from typing import Any
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from notify.http.bodies import media_type, read

URL_ENCODED = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data"
TAKEN = ("", URL_ENCODED, PARTS, "text/plain")
MOST_FIELDS = 20_000
LONGEST_BOUNDARY = 70
PARAMETER = pattern(r';[ \t]*([a-z]+)=(?:"([^"]*)"|([^;"\s]*))', IGNORECASE)

Form = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FormBody:
    """The dependency that reads a form. Put it after the one that checks the caller's key."""

    at_most: int

    async def __call__(self, request: Request) -> Form:
        """Source: RFC 8058 §3.2 lets mail providers choose between the two encodings of forms."""
        content_type = request.headers.get("content-type", "")
        if media_type(content_type) not in TAKEN:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {URL_ENCODED} or {PARTS}")
        body = await read(request, at_most=self.at_most)
        return await run_in_threadpool(fields, content_type, body.decode("utf-8", "replace"))


def posts(fields: Mapping[str, Sequence[str]], *, needed: Sequence[str]) -> dict[str, Any]:
    """
    What OpenAPI says about a form.

    Args:
        fields: Each with its values.
        needed: The fields of which there must be one.
    """
    properties = {name: {"type": "string", "enum": list(values)} for name, values in fields.items()}
    one_of_them = [{"required": [name]} for name in needed]
    schema = {"type": "object", "properties": properties, "anyOf": one_of_them}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in (URL_ENCODED, PARTS)}}}


def is_of(posted: Form, fields: Mapping[str, Sequence[str]]) -> bool:
    """Whether every posted value of these fields is one of theirs."""
    return all(value in fields.get(name, [value]) for name, value in posted)


def values(posted: Form, field: str) -> set[str]:
    return {value for name, value in posted if name == field}


def fields(content_type: str, body: str) -> Form:
    """The fields of a form, in order; none where it is malformed."""
    if media_type(content_type) == PARTS:
        boundary = _parameters(content_type).get("boundary", "")
        return list(_parts(body, boundary)) if 1 <= len(boundary) <= LONGEST_BOUNDARY else []
    try:
        return parse_qsl(body.strip(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return []


def _parts(body: str, boundary: str) -> Iterator[tuple[str, str]]:
    """
    Name and value of each part; parts within parts are words like any other.

    Source: RFC 7578 §4.2 and §4.3, RFC 2046 §5.1.1.
    """
    _, *parts = ("\n" + body.replace("\r\n", "\n")).split(f"\n--{boundary}")
    for part in parts:
        if part.startswith("--"):
            return
        head, _, value = part.partition("\n\n")
        for line in head.split("\n"):
            name, _, disposition = line.partition(":")
            if name.strip().lower() == "content-disposition":
                yield _parameters(disposition).get("name", ""), value


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header's value, by name in lower case."""
    return {name.lower(): quoted or bare for name, quoted, bare in PARAMETER.findall(header)}
