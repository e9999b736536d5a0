"""
Reads the body of a call, after authentication, limited in size and time, and parses it outside the event loop.

Decided: FastAPI's own body parameters are not used. It reads, parses and validates them in the event loop, before it
authenticates the caller; a mebibyte of unknown fields took a second there.
Rejected: pydantic's own JSON parser, which took 1.3 s for a mebibyte of empty lists.
"""

from asyncio import Semaphore, timeout
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from http import HTTPStatus
from json import JSONDecodeError, loads
from re import compile as pattern
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from notify.http import context

MAX_BODY_BYTES = 1024 * 1024
LARGE = 64 * 1024
LARGE_AT_ONCE = 2
MAX_CONTAINERS = 50_000
# The closing quote is optional, so that an unclosed string is scanned once, not once for each quote in it.
STRING = pattern(r'"[^"\\]*(?:\\.[^"\\]*)*"?')


class JsonBody:
    """The dependency that reads a JSON body. Put it after the one that authenticates the caller."""

    def __init__(self, shape: Any, *, example: object = None) -> None:  # noqa: ANN401 - whatever pydantic takes for a type
        self.shape = TypeAdapter[Any](shape)
        self.example = example

    async def __call__(self, request: Request) -> Any:  # noqa: ANN401 - what the shape says
        raw = await read(request, at_most=MAX_BODY_BYTES)
        if raw and not _is_json(request.headers.get("content-type", "")):
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
        # Forty large bodies at once, as many as there are threads, would fill the memory.
        turns: Semaphore = request.app.state.large_bodies
        async with turns if len(raw) > LARGE else nullcontext():
            return await run_in_threadpool(parsed, self.shape, raw)


def may_be_large(request: Request) -> bool:
    """Whether the body is announced as large, or not announced."""
    return "content-length" not in request.headers or _announced(request) > LARGE


def describe(document: dict[str, Any], routes: Iterable[BaseRoute]) -> None:
    """Add the JSON bodies that these routes take to their OpenAPI document."""
    taken = {(path, method.lower()): body for path, methods, body in _of(routes) for method in methods}
    named, shared = TypeAdapter.json_schemas(
        [(call, "validation", body.shape) for call, body in taken.items()], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"].update(shared["$defs"])
    for (path, method), body in taken.items():
        content: dict[str, Any] = {"schema": named[(path, method), "validation"]}
        if body.example is not None:
            content["example"] = body.example
        document["paths"][path][method]["requestBody"] = {"required": True, "content": {"application/json": content}}


def _of(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, Iterable[str], JsonBody]]:
    for route in routes:
        if isinstance(route, APIRoute):
            for one in route.dependant.dependencies:
                if isinstance(one.call, JsonBody):
                    yield route.path_format, route.methods or (), one.call


async def read(request: Request, *, at_most: int) -> bytes:
    """The body; refused if it is too large or too slow."""
    _refuse_over(at_most, _announced(request))
    body, more = b"", bytearray()
    try:
        async with timeout(context.of(request).client_seconds):
            async for chunk in request.stream():
                if not body:  # a small body comes in one piece, and is not copied
                    body = chunk
                    continue
                more += chunk
                _refuse_over(at_most, len(body) + len(more))
    except TimeoutError:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time", {"Connection": "close"}
        ) from None
    return body + more if more else body


def parsed(shape: TypeAdapter[Any], raw: bytes) -> Any:  # noqa: ANN401 - what the shape says
    if not raw:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    try:
        given = _json(raw)
    except JSONDecodeError as error:
        raise _not_json(error.msg, at=error.pos) from None
    except UnicodeDecodeError as error:
        raise _not_json("expected UTF-8", at=error.start) from None
    except (RecursionError, ValueError):
        raise _not_json("nested too deep, or a number too long", at=0) from None
    try:
        return shape.validate_python(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _json(raw: bytes) -> Any:  # noqa: ANN401 - whatever was sent
    """Source: RFC 8259 §8.1: UTF-8, and a byte order mark may be ignored."""
    text = raw.decode("utf-8-sig")
    if len(raw) > LARGE:
        _refuse_many_containers(text)
    return loads(text)


def _refuse_many_containers(text: str) -> None:
    """Many lists and objects are expensive: the garbage collector visits them repeatedly while more are created."""
    bare = STRING.sub("", text)
    if bare.count("[") + bare.count("{") > MAX_CONTAINERS:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_CONTAINERS} lists and objects")


def _not_json(words: str, *, at: int) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "json_invalid", "loc": ("body", at), "msg": words, "ctx": {"error": words}}]
    )


def media_type(content_type: str) -> str:
    """The media type, without parameters, in lower case; empty: none."""
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    kind, _, subtype = media_type(content_type).partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def _announced(request: Request) -> int:
    try:
        return int(request.headers.get("content-length", "0"))
    except ValueError:
        return 0


def _refuse_over(at_most: int, size: int) -> None:
    if size > at_most:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {at_most} bytes")
