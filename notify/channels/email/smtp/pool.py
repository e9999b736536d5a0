"""Sessions that are lent to one email at a time, kept while they are good, and let go before they spoil."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from notify.channels.email.smtp.session import Session
from notify.domain.outcomes import Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """When a session has served: after so many emails, at this age, or after resting so long."""

    emails: int = 1_000
    age: timedelta = timedelta(minutes=5)
    rest: timedelta = timedelta(seconds=20)


class Pool:
    """
    At most *size* sessions, opened when they are asked for. Lives in one event loop.

    Args:
        connect: Opens one more session, or says why it cannot.
        counted: Somebody counts the sessions that stand: one that is let go is waited for before another is opened.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Session | Released]],
        *,
        size: int,
        wear: Wear,
        counted: bool = False,
    ) -> None:
        self._connect = connect
        self._wear = wear
        self._age = wear.age.total_seconds()
        self._counted = counted
        self._room = asyncio.Semaphore(size)
        self._most = size
        self._resting: dict[Session, asyncio.TimerHandle] = {}
        self._lent: set[Session] = set()
        self._connecting = 0
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a session is with an email at the moment, and so stands."""
        return bool(self._lent)

    @property
    def standing(self) -> int:
        """How many sessions stand, those included that are being opened or closed."""
        return len(self._resting) + len(self._lent) + self._connecting + len(self._leaving)

    def limit(self, most: int) -> None:
        """Let sessions go that rest, now and when they come back, until no more than this stand."""
        self._most = most
        while self._resting and len(self._resting) + len(self._lent) > most:
            session, timer = self._resting.popitem()
            timer.cancel()
            self._part(session)

    @property
    def resting(self) -> bool:
        """Whether a session waits for an email."""
        return bool(self._resting)

    @asynccontextmanager
    async def lend(self, *, fresh: bool = False) -> AsyncIterator[Session | Released]:
        """
        A session for the length of the block, or why there is none; waits while all are lent.

        Args:
            fresh: Open a new one, and let those go that rest: what ended one has likely ended all.
        """
        async with self._room:
            if fresh:
                self._let_all_go()
            session = self._rested() or await self._connected()
            if isinstance(session, Released):
                yield session
                return
            self._lent.add(session)
            try:
                yield session
            finally:
                self._take_back(session)

    async def _connected(self) -> Session | Released:
        self._connecting += 1
        try:
            while self._counted and self._leaving:
                await asyncio.wait(self._leaving)
            return await self._connect()
        finally:
            self._connecting -= 1

    async def close(self) -> None:
        """Take leave of all that rest; those that are lent follow when they come back."""
        resting = list(self._resting)
        for timer in self._resting.values():
            timer.cancel()
        self._resting.clear()
        self._lent.clear()
        await asyncio.gather(*self._leaving, *(session.quit() for session in resting))

    def _rested(self) -> Session | None:
        """The session that has rested least, if one is still good."""
        while self._resting:
            session, timer = self._resting.popitem()
            timer.cancel()
            if self._is_good(session):
                return session
            self._part(session)
        return None

    def _take_back(self, session: Session) -> None:
        ours = session in self._lent
        self._lent.discard(session)
        if ours and self._is_good(session) and len(self._resting) + len(self._lent) < self._most:
            session.rested = True
            loop = asyncio.get_running_loop()
            self._resting[session] = loop.call_later(self._wear.rest.total_seconds(), self._let_go, session)
        else:
            self._part(session)

    def lasts(self, session: Session) -> bool:
        """Whether the session may take another letter, as far as its wear goes."""
        return session.emails < self._wear.emails and monotonic() - session.opened_at < self._age

    def _is_good(self, session: Session) -> bool:
        return session.fit and self.lasts(session)

    def _let_all_go(self) -> None:
        while self._resting:
            session, timer = self._resting.popitem()
            timer.cancel()
            self._part(session)

    def _let_go(self, session: Session) -> None:
        del self._resting[session]
        self._part(session)

    def _part(self, session: Session) -> None:
        """Take leave; it stands until the relay has hung up."""
        if not session.fit:
            session.abort()
            return
        leaving = asyncio.create_task(session.quit())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
