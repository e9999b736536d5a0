"""
How often somebody may call: so many times a minute, and after that the answer says when to come back.

Decided: each process counts for itself, in memory. The limit keeps one caller from taking a process
away from the others, and needs no server that could be away.
Rejected: one count over all processes in Redis: a round trip a call, and nobody's limit without it.
Rejected: the library ``limits``, whose memory (5.8) starts a thread for a call and forgets no caller.
"""

from asyncio import Semaphore
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from math import ceil
from time import monotonic
from typing import TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notify.domain.measures import Count, Measure, Way, uncounted
from notify.domain.rates import Rate
from notify.http import problems
from notify.http.edge import route_path
from notify.http.pages import is_page

WITHOUT_LIMIT = frozenset({"/livez", "/readyz", "/metrics"})
WRONG_KEYS_PER_MINUTE = 60
MOST_CALLERS = 10_000
MINUTE = 60.0
Value = TypeVar("Value")
KEY_CHECK = "notify.key_check"


class Allowance:
    """
    So many calls a minute for each caller, all at once if they like, and then one by one as the minute passes.

    Remembers the latest callers only, so that inventing new ones fills no memory.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float]) -> None:
        self._rate = Rate(each=MINUTE / per_minute, burst=per_minute)
        self._clock = clock
        self._spent_until: OrderedDict[str, float] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Seconds until the caller's next call is allowed; 0 when it is now."""
        return self._rate.wait(self._owed(caller, self._clock()))

    def spend(self, caller: str) -> None:
        now = self._clock()
        _remember(self._spent_until, caller, now + self._rate.spent(self._owed(caller, now), 1))

    def _owed(self, caller: str, now: float) -> float:
        return max(0.0, self._spent_until.get(caller, now) - now)


@dataclass(slots=True)
class KeyCheck:
    """
    How a call's key is checked.

    Args:
        turn: Held while the key is checked.
        passed: Set by whoever has checked the key: it opens something.
    """

    turn: AbstractAsyncContextManager[object]
    passed: bool = False


def key_check(request: Request) -> KeyCheck:
    found: KeyCheck = request.scope.get(KEY_CHECK) or KeyCheck(nullcontext())
    return found


class Rates:
    """
    Refuses calls beyond the limit of their caller: a key that has proved valid, or else an address.

    A key is a token or a signed link. One that has proved valid is counted by itself, whatever others at its address
    do. The keys of an address that is beyond its limit, or has brought sixty wrong ones in a minute, are examined
    nevertheless, one at a time: one that opens something is answered, all others are refused alike.
    """

    def __init__(
        self, app: ASGIApp, *, per_minute: int, clock: Callable[[], float] = monotonic, count: Count = uncounted
    ) -> None:
        self._app = app
        self._calls = Allowance(per_minute, clock=clock)
        self._wrong_keys = Allowance(WRONG_KEYS_PER_MINUTE, clock=clock)
        self._valid: OrderedDict[str, bool] = OrderedDict()
        self._turn = Semaphore(1)
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in WITHOUT_LIMIT:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        address, key = _address(request), _key(request)
        self._count(Measure.CALL, _way(request, address))
        known = key is not None and key in self._valid
        caller = key if key is not None and known else address
        seconds = self._calls.wait(caller)
        if key is not None and not known:
            seconds = max(seconds, self._wrong_keys.wait(address))
        if seconds and (known or key is None):
            await _refusal(request, seconds)(scope, receive, send)
            return
        if not seconds:
            self._calls.spend(caller)
        scope[KEY_CHECK] = check = KeyCheck(self._turn if seconds else nullcontext())
        await self._app(scope, receive, send if key is None else self._answering(request, key, check, seconds, send))

    def _answering(self, request: Request, key: str, check: KeyCheck, seconds: float, send: Send) -> Send:
        """Sends the answer, or a refusal in its place where the key had to open something and did not."""
        refused = False

        async def answering(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                self._note(request, key, passed=check.passed, status=message["status"])
                refused = bool(seconds) and not check.passed and message["status"] < HTTPStatus.INTERNAL_SERVER_ERROR
                if refused:
                    await _refusal(request, seconds)(request.scope, request.receive, send)
            if not refused:
                await send(message)

        return answering

    def _note(self, request: Request, key: str, *, passed: bool, status: int) -> None:
        wrong = status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.NOT_FOUND and is_page(request))
        if passed:
            if key not in self._valid:
                self._calls.spend(key)
            _remember(self._valid, key, value=True)
        elif wrong:
            self._valid.pop(key, None)
            if not self._wrong_keys.wait(_address(request)):
                self._wrong_keys.spend(_address(request))


def _remember(callers: OrderedDict[str, Value], caller: str, value: Value) -> None:
    """Store this about the latest caller, and forget who has been away longest when they are too many."""
    callers[caller] = value
    callers.move_to_end(caller)
    if len(callers) > MOST_CALLERS:
        callers.popitem(last=False)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _key(request: Request) -> str | None:
    """A name of what the call shows as its right, that is no secret; None where it shows nothing."""
    shown = request.headers.get("authorization") or (request.url.path if is_page(request) else None)
    return sha256(shown.encode()).hexdigest() if shown else None


def _way(request: Request, address: str) -> Way:
    """The server has put the caller's address in place of the proxy's where it trusts the proxy."""
    forwarded = request.headers.get("x-forwarded-for")
    if forwarded is None:
        return Way.DIRECT
    return Way.FORWARDED if address in forwarded else Way.UNTRUSTED


def _refusal(request: Request, seconds: float) -> ASGIApp:
    whole = ceil(seconds)
    return problems.answer(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        detail=f"too many calls: the next one is answered in {whole} s",
        headers={"Retry-After": str(whole)},
    )
