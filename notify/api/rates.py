"""
How often somebody may call: so many times a minute, and after that the answer says when to come back.

Decided: each process counts for itself, in memory. The limit keeps one caller from taking a process
away from the others, and needs no server that could be away.
Rejected: one count over all processes in Redis: a round trip a call, and nobody's limit without it.
Rejected: the library ``limits``, whose memory (5.8) starts a thread for a call and forgets no caller.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from math import ceil
from time import monotonic

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notify.api import problems
from notify.domain.rates import Rate

WITHOUT_LIMIT = frozenset({"/livez", "/readyz", "/metrics"})
WRONG_KEYS_PER_MINUTE = 60
MOST_CALLERS = 10_000
MINUTE = 60.0


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
        """Count one call."""
        now = self._clock()
        self._spent_until[caller] = now + self._rate.spent(self._owed(caller, now), 1)
        self._spent_until.move_to_end(caller)
        if len(self._spent_until) > MOST_CALLERS:
            self._spent_until.popitem(last=False)

    def _owed(self, caller: str, now: float) -> float:
        return max(0.0, self._spent_until.get(caller, now) - now)


class Rates:
    """
    Refuses calls beyond the limit of their caller, which is a token, or an address where there is none.

    An address that keeps coming with tokens that open nothing is refused whatever it brings next: each
    would be a new caller.
    """

    def __init__(self, app: ASGIApp, *, per_minute: int, clock: Callable[[], float] = monotonic) -> None:
        self._app = app
        self._calls = Allowance(per_minute, clock=clock)
        self._wrong_keys = Allowance(WRONG_KEYS_PER_MINUTE, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in WITHOUT_LIMIT:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        address = request.client.host if request.client else ""
        caller = _caller(request, address)
        seconds = max(self._wrong_keys.wait(address), self._calls.wait(caller))
        if seconds:
            await _refusal(request, ceil(seconds))(scope, receive, send)
            return
        self._calls.spend(caller)
        await self._app(scope, receive, self._noting(address, send))

    def _noting(self, address: str, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message.get("status") == HTTPStatus.UNAUTHORIZED:
                self._wrong_keys.spend(address)
            await send(message)

        return noting


def _caller(request: Request, address: str) -> str:
    """A name of the caller that is no secret."""
    key = request.headers.get("authorization")
    return sha256(key.encode()).hexdigest() if key else address


def _refusal(request: Request, seconds: int) -> ASGIApp:
    return problems.answer(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        detail=f"too many calls: the next one is answered in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )
