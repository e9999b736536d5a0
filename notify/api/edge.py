"""
What happens to every call before it is understood: its size is limited, and how it was answered is logged.

Rejected: FastAPI's ``max_body_size``, which refuses in plain text, past the handlers that write problem documents.
"""

from http import HTTPStatus
from time import perf_counter

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1024 * 1024

log = structlog.get_logger(__name__)


class LimitedBody:
    """Refuses to read more than 1 MiB of a body, whether its length was announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received, announced = 0, _announced(scope) if scope["type"] == "http" else 0

        async def limited() -> Message:
            nonlocal received
            _refuse_over_limit(announced)
            message = await receive()
            received += len(message.get("body", b""))
            _refuse_over_limit(received)
            return message

        await self._app(scope, limited, send)


class AccessLog:
    """Logs one line for each call: the route, never the path, which holds names and the keys of signed links."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def noting(message: Message) -> None:
            nonlocal status
            status = int(message.get("status", status))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            milliseconds = round((perf_counter() - began) * 1000, 1)
            route = getattr(scope.get("route"), "path", None)
            log.info("http", method=scope["method"], route=route, status=status, milliseconds=milliseconds)


def _announced(scope: Scope) -> int:
    try:
        return int(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return 0


def _refuse_over_limit(size: int) -> None:
    if size > LARGEST_BODY:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST_BODY} bytes")
