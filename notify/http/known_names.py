"""By which names the API may be called, where that is limited."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from notify.hosts import is_local
from notify.http import problems

UNKNOWN = "The API is not called by this name; NOTIFY_API_HOSTS says which it has."


class KnownNames:
    """
    Refuses calls by a name that is neither known nor local, which a browser was led to use (DNS rebinding).

    Args:
        names: Besides addresses and names without a dot.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            host = request.url.hostname or ""
            if not is_local(host) and host.lower() not in self._names:
                refusal = problems.answer(request, HTTPStatus.MISDIRECTED_REQUEST, detail=UNKNOWN)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
