"""What happens to every call: how it was answered is logged."""

from http import HTTPStatus
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)


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
