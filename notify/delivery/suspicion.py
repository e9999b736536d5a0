"""Whether a relay that refuses for policy means the recipients or us, as one worker process knows it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from notify.delivery.breaker import SUSPECTS


class Suspicion:
    """
    Recipients that the relay has refused since it took an email last. Lives in one event loop.

    Decided: a process goes by what it has heard itself, at once, and tells the others in the same order; what they
        have heard replaces it while it has nothing to tell.

    Attributes:
        changes: How often it has changed here.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._recipients: set[str] = set()
        self._untold = 0
        self._turn = asyncio.Lock()

    def refused(self, recipient: str) -> bool:
        """The relay refused this one; whether that makes enough of them."""
        self._recipients.add(recipient)
        self._changed()
        return len(self._recipients) >= SUSPECTS

    def cleared(self) -> None:
        """The relay took an email."""
        self._recipients.clear()
        self._changed()

    def heed(self, recipients: Sequence[str], *, since: int) -> None:
        """What all workers know, unless something has changed here since that was asked for, or waits to be told."""
        if not self._untold and self.changes == since:
            self._recipients = set(recipients)

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """Tell the others of one change; callers come in the order of the changes."""
        try:
            async with self._turn:
                yield
        finally:
            self._untold -= 1

    def _changed(self) -> None:
        self.changes += 1
        self._untold += 1
