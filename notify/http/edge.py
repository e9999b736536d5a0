"""What happens to every call: its prefix is told from its path, and how it was answered is logged."""

from http import HTTPStatus
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)


class OnePrefix:
    """
    Takes off a prefix that stands twice before a path.

    uvicorn puts its ``--root-path`` before every path, because it takes the proxy for one that strips the prefix. Many
    leave it on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = scope.get("root_path", "").rstrip("/")
        if scope["type"] == "http" and prefix and route_path(scope).startswith(f"{prefix}/"):
            scope = {**scope, "path": scope["path"].removeprefix(prefix)}
        await self._app(scope, receive, send)


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


def route_path(scope: Scope) -> str:
    """
    The path as our routes spell it, without the prefix that a proxy serves us under.

    Source: in ASGI ``path`` begins with ``root_path``; some servers leave it out, and Starlette takes both.
    """
    path: str = scope["path"]
    rest = path.removeprefix(scope.get("root_path", ""))
    return rest if rest.startswith("/") else path
