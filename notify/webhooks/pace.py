"""How many calls this process makes to one endpoint at a time, so that a slow one holds up no other."""

from asyncio import Semaphore, timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

CALLS_OF_ENDPOINT = 6
# A call that would wait longer for its turn comes again later, so that the claim of others does not wait for it.
LONGEST_WAIT_SECONDS = 1.0
# Short, because an endpoint that was slow may be fast by then.
LONGEST_POSTPONEMENT_SECONDS = 10.0
FIRST_GUESS_SECONDS = 0.05
# Of the newest call in the average: one that was slow by chance must not send the others away.
NEWEST_SHARE = 0.2


class Pace:
    """The calls to one endpoint. Lives in one event loop."""

    def __init__(self) -> None:
        self._turns = Semaphore(CALLS_OF_ENDPOINT)
        self._begun: dict[object, float] = {}
        self._waiting = 0
        self._took = FIRST_GUESS_SECONDS
        self._last_at = 0.0

    def postponement(self) -> float:
        """In how many seconds one more call is to come again; 0: it may wait for its turn."""
        now = monotonic()
        each = max([self._took, *(now - began for began in self._begun.values())]) / CALLS_OF_ENDPOINT
        wait = (len(self._begun) + self._waiting + 1 - CALLS_OF_ENDPOINT) * each
        if wait <= LONGEST_WAIT_SECONDS:
            return 0.0
        self._last_at = min(max(self._last_at, now + wait) + each, now + LONGEST_POSTPONEMENT_SECONDS)
        return self._last_at - now

    @asynccontextmanager
    async def turn(self, *, within: float) -> AsyncIterator[None]:
        """
        Wait for a turn, and have it within the block.

        Raises:
            TimeoutError: None was free within so many seconds.
        """
        self._waiting += 1
        try:
            async with timeout(within):
                await self._turns.acquire()
        finally:
            self._waiting -= 1
        me = object()
        self._begun[me] = monotonic()
        try:
            yield
        finally:
            self._took += NEWEST_SHARE * (monotonic() - self._begun.pop(me) - self._took)
            self._turns.release()
