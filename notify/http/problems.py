"""Answers errors with a problem document (RFC 9457), or with a page in a browser."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.routing import Match

from notify.domain.errors import MalformedEvent
from notify.http import context, suggestions
from notify.http.pages import FAILED, FORGED, UNREACHABLE, Refusal, is_page

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
MAX_ERRORS = 20
SCHEMA_PATH = "#/components/schemas/"


class FieldError(BaseModel):
    """One field that was refused."""

    index: int | None = Field(default=None, description="Position in the batch, from 0; absent outside a batch.")
    field: str = Field(description="Dotted path of the field, such as cl.link; empty for the whole.")
    reason: str = Field(description="What is wrong with it, or what was expected.")


class Problem(BaseModel):
    """
    Why a call was refused.

    Source: RFC 9457. ``about:blank`` means that the status says it all.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the call.")
    errors: list[FieldError] | None = Field(default=None, description="The fields that were refused, if any were.")


class Unauthorized(HTTPException):
    """
    The token is missing or not valid.

    Source: RFC 6750 §3: the challenge names an error only where a token was given.
    """

    def __init__(self, detail: str, *, challenge: str = 'Bearer error="invalid_token"') -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})


class RefusedFields(HTTPException):
    """The body is well-formed, but the values of some fields are not allowed."""

    def __init__(self, status: HTTPStatus, errors: Sequence[FieldError]) -> None:
        super().__init__(status, _sentence(errors[0]))
        self.errors = list(errors)


class RefusedField(RefusedFields):
    """The same for one field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, [FieldError(field=field, reason=reason)])


def answer(
    request: Request,
    status: int,
    *,
    detail: str = "",
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    if is_page(request):
        return context.of(request).pages.refusal(request, status, headers=headers)
    title = HTTPStatus(status).phrase
    problem = Problem(
        title=title, status=status, detail=detail or title, instance=request.url.path, errors=list(errors) or None
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=PROBLEM_JSON
    )


def refused(request: Request, error: AnyHTTPException) -> Response:
    """The answer to an HTTPException, ours or the framework's."""
    if isinstance(error, Refusal):
        return context.of(request).pages.refusal(request, error.status_code, error)
    errors = error.errors if isinstance(error, RefusedFields) else ()
    headers = _allowed(request) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return answer(request, error.status_code, detail=error.detail, errors=errors, headers=headers or error.headers)


def invalid(request: Request, error: RequestValidationError) -> Response:
    """The call does not match the schema; the first twenty wrong fields are named."""
    errors = [_field_error(request, one) for one in error.errors()[:MAX_ERRORS]]
    not_json = any(one["type"] == "json_invalid" for one in error.errors())
    status = HTTPStatus.BAD_REQUEST if not_json else HTTPStatus.UNPROCESSABLE_ENTITY
    return answer(request, status, detail=_sentence(errors[0]), errors=errors)


def malformed(request: Request, error: MalformedEvent) -> Response:
    """The event is in the future by the database's clock."""
    errors = [FieldError(index=error.index, field=error.field, reason=error.reason)]
    return answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail=_sentence(errors[0]), errors=errors)


def forged(request: Request, _: Exception) -> Response:
    return answer(request, HTTPStatus.NOT_FOUND, detail=FORGED)


def unreachable(request: Request, error: Exception) -> Response:
    """The database did not answer. The error's message is not logged, because it quotes the statement's values."""
    log.warning("database.unreachable", error=type(error.__cause__ or error).__name__)
    return answer(request, HTTPStatus.SERVICE_UNAVAILABLE, detail=UNREACHABLE, headers={"Retry-After": "5"})


def failed(request: Request, _: Exception) -> Response:
    """A bug of ours; the server logs its trace."""
    return answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail=FAILED)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says about refusals with these statuses."""
    content = {PROBLEM_JSON: {"schema": {"$ref": SCHEMA_PATH + Problem.__name__}}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


BODY_RESPONSES = documented(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
COMMON_RESPONSES = documented(
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def schemas() -> dict[str, Any]:
    """The schemas that ``documented`` refers to, by name."""
    problem = Problem.model_json_schema(ref_template=SCHEMA_PATH + "{model}")
    return {**problem.pop("$defs"), Problem.__name__: problem}


def _allowed(request: Request) -> dict[str, str]:
    """
    The methods of all routes at this path; the router names only those of the first.

    Source: RFC 9110 §15.5.6.
    """
    routes: Sequence[APIRoute] = request.app.state.routes
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in here for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


def _field_error(request: Request, error: Mapping[str, Any]) -> FieldError:
    if error["type"] == "json_invalid":
        return FieldError(field="", reason=f"not JSON: {error['ctx']['error']} at character {error['loc'][-1]}")
    source, *path = error["loc"]
    index = path.pop(0) if source == "body" and path and isinstance(path[0], int) else None
    if error["type"] == "extra_forbidden":
        reason = suggestions.unknown_field(request, error["loc"])
    else:
        reason = error["msg"].removeprefix("Value error, ")
    return FieldError(index=index, field=".".join(str(part) for part in path), reason=reason)


def _sentence(error: FieldError) -> str:
    where = "" if error.index is None else f"item {error.index}: "
    return f"{where}{error.field}: {error.reason}" if error.field else f"{where}{error.reason}"
