"""
Limits the calls per minute of each caller; above the limit the answer is 429 with ``Retry-After``.

Decided: each process counts by itself, in memory; the limit keeps one caller from blocking the others.
Rejected: counting across processes in Redis: a round trip for each call, and no limit while Redis is down.
Rejected: the library ``limits``, whose memory storage (5.8) starts a thread per call and never forgets a caller.
"""

from asyncio import Semaphore
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from math import ceil
from time import monotonic
from typing import TypeVar

from fastapi import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from notify.channels.links import ForgedLink
from notify.domain.measures import CallOrigin, Count, Measure, no_count
from notify.domain.rates import Rate
from notify.http import problems
from notify.http.pages import is_page, route_path
from notify.http.problems import Unauthorized

UNLIMITED = frozenset({"/livez", "/readyz", "/metrics"})
WITH_KEYS = ("/api/", "/preferences", "/unsubscribe/")
WRONG_KEYS_PER_MINUTE = 60
MAX_CALLERS = 10_000
MINUTE = 60.0
Value = TypeVar("Value")
KEY_CHECK = "notify.key_check"


class CallLimit:
    """
    A number of calls per minute for each caller, in a burst or spread out.

    Only the latest callers are remembered, so that made-up ones do not fill the memory.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float]) -> None:
        self._rate = Rate(each=MINUTE / per_minute, burst=per_minute)
        self._clock = clock
        self._spent_until: OrderedDict[str, float] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Seconds until the caller's next call is allowed; 0: now."""
        return self._rate.wait(self._owed(caller, self._clock()))

    def spend(self, caller: str) -> None:
        now = self._clock()
        _remember(self._spent_until, caller, now + self._rate.spent(self._owed(caller, now), 1))

    def _owed(self, caller: str, now: float) -> float:
        return max(0.0, self._spent_until.get(caller, now) - now)


def key_check(request: Request) -> AbstractAsyncContextManager[None]:
    """The context in which to check the call's key; above the limit, it refuses a wrong key."""
    check: Callable[[], AbstractAsyncContextManager[None]] = request.scope.get(KEY_CHECK, nullcontext)
    return check()


class CallLimiter:
    """
    Refuses calls above the limit of their caller: a key that was valid before, or else an address.

    A key is a token or a signed link. A valid key has its own limit, whatever else comes from its address. Keys from
    an address above its limit, or with sixty wrong keys in a minute, are still checked, one at a time: valid ones are
    answered, all others refused.
    """

    def __init__(
        self, app: ASGIApp, *, per_minute: int, clock: Callable[[], float] = monotonic, count: Count = no_count
    ) -> None:
        self._app = app
        self._calls = CallLimit(per_minute, clock=clock)
        self._wrong_keys = CallLimit(WRONG_KEYS_PER_MINUTE, clock=clock)
        self._valid: OrderedDict[str, bool] = OrderedDict()
        self._turn = Semaphore(1)
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in UNLIMITED:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        address, key = _address(request), _key(request)
        self._count(Measure.CALL, _origin(request, address))
        known = key is not None and key in self._valid
        caller = key if key is not None and known else address
        seconds = self._calls.wait(caller)
        if key is not None and not known:
            seconds = max(seconds, self._wrong_keys.wait(address))
        if seconds and (known or key is None):
            await problems.refused(request, _too_many(seconds))(scope, receive, send)
            return
        if not seconds:
            self._calls.spend(caller)
        if key is not None:
            scope[KEY_CHECK] = partial(self._check, key, address, seconds)
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def _check(self, key: str, address: str, seconds: float) -> AsyncIterator[None]:
        async with self._turn if seconds else nullcontext():
            try:
                yield
            except (Unauthorized, ForgedLink):
                self._valid.pop(key, None)
                if not self._wrong_keys.wait(address):
                    self._wrong_keys.spend(address)
                if seconds:
                    raise _too_many(seconds) from None
                raise
        if key not in self._valid:
            self._calls.spend(key)
        _remember(self._valid, key, value=True)


def _remember(callers: OrderedDict[str, Value], caller: str, value: Value) -> None:
    """Remember this caller's value; forget the least recent caller when there are too many."""
    callers[caller] = value
    callers.move_to_end(caller)
    if len(callers) > MAX_CALLERS:
        callers.popitem(last=False)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _key(request: Request) -> str | None:
    """The hash of the token or signed link; None if there is none or it will not be checked."""
    if not route_path(request.scope).startswith(WITH_KEYS):
        return None
    key = request.headers.get("authorization") or (request.url.path if is_page(request) else None)
    return sha256(key.encode()).hexdigest() if key else None


def _origin(request: Request, address: str) -> CallOrigin:
    """Source: uvicorn replaces a trusted proxy's address with the caller's."""
    forwarded = request.headers.get("x-forwarded-for")
    if forwarded is None:
        return CallOrigin.DIRECT
    return CallOrigin.FORWARDED if address in forwarded else CallOrigin.UNTRUSTED


def _too_many(seconds: float) -> HTTPException:
    whole = ceil(seconds)
    return HTTPException(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"too many calls; try again in {whole} s",
        {"Retry-After": str(whole)},
    )
