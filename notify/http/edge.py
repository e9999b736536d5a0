"""Middleware that every call passes first: path prefix, access log, and allowed host names."""

from collections.abc import Collection
from http import HTTPStatus
from time import perf_counter

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notify.dns_names import is_local
from notify.http import problems
from notify.http.pages import route_path

UNKNOWN_NAME = "The API does not answer to this host name; NOTIFY_API_HOSTS lists those it answers to."

log = structlog.get_logger(__name__)


class PathPrefix:
    """
    Removes a duplicate path prefix.

    uvicorn adds its ``--root-path`` to every path, expecting the proxy to have stripped it. Many proxies do not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = scope.get("root_path", "").rstrip("/")
        if scope["type"] == "http" and prefix and route_path(scope).startswith(f"{prefix}/"):
            scope = {**scope, "path": scope["path"].removeprefix(prefix)}
        await self._app(scope, receive, send)


class AccessLog:
    """Logs one line for each call: the route, not the path, which contains names and signed links."""

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
            log.info("http.request", method=scope["method"], route=route, status=status, milliseconds=milliseconds)


class HostFilter:
    """
    Refuses calls to unknown host names, against DNS rebinding; local names are always allowed.

    Rejected: Starlette's ``TrustedHostMiddleware``, which would refuse probes by address.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            host = request.url.hostname or ""
            if not is_local(host) and host.lower() not in self._names:
                refusal = problems.answer(request, HTTPStatus.MISDIRECTED_REQUEST, detail=UNKNOWN_NAME)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
