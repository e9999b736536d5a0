"""A pool of sessions, which are reused while usable and closed before the relay closes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from notify.channels.email.smtp.session import Session
from notify.domain.outcomes import Released


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """When to close a session: after this many emails, at this age, or after being idle this long."""

    emails: int = 1_000
    age: timedelta = timedelta(minutes=5)
    idle: timedelta = timedelta(seconds=20)


class Pool:
    """
    At most *size* sessions, opened on demand. Belongs to one event loop.

    Args:
        connect: Opens a session, or returns why it cannot.
        counted: The number of sessions is limited: wait for closing sessions before opening another.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Session | Released]],
        *,
        size: int,
        limits: SessionLimits,
        counted: bool = False,
    ) -> None:
        self._connect = connect
        self._limits = limits
        self._age = limits.age.total_seconds()
        self._counted = counted
        self._slots = asyncio.Semaphore(size)
        self._most = size
        self._idle: dict[Session, asyncio.TimerHandle] = {}
        self._in_use: set[Session] = set()
        self._connecting = 0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def is_in_use(self) -> bool:
        """Whether a session is lent."""
        return bool(self._in_use)

    @property
    def has_idle(self) -> bool:
        """Whether a session is idle."""
        return bool(self._idle)

    @property
    def open_sessions(self) -> int:
        """How many sessions the relay may count, including those being opened or closed."""
        return len(self._idle) + len(self._in_use) + self._connecting + len(self._closing)

    def limit(self, most: int) -> None:
        """Close sessions above this number, now if idle, else when they are returned."""
        self._most = most
        while self._idle and len(self._idle) + len(self._in_use) > most:
            self._close(self._latest_idle())

    @asynccontextmanager
    async def lend(self, *, fresh: bool = False) -> AsyncIterator[Session | Released]:
        """
        A session for the duration of the block, or why there is none; waits while all are lent.

        Args:
            fresh: Open a new session and close all idle ones, which are probably broken too.
        """
        async with self._slots:
            if fresh:
                self._close_idle()
            session = self._reusable() or await self._connected()
            if isinstance(session, Released):
                yield session
                return
            self._in_use.add(session)
            try:
                yield session
            finally:
                self._take_back(session)

    def may_go_on(self, session: Session) -> bool:
        """Whether the limits allow the session another email."""
        return session.emails < self._limits.emails and monotonic() - session.opened_at < self._age

    async def close(self) -> None:
        """Close all idle sessions; lent ones are closed when they are returned."""
        self._close_idle()
        self._in_use.clear()
        await asyncio.gather(*self._closing)

    async def _connected(self) -> Session | Released:
        self._connecting += 1
        try:
            while self._counted and self._closing:
                await asyncio.wait(self._closing)
            return await self._connect()
        finally:
            self._connecting -= 1

    def _reusable(self) -> Session | None:
        """The most recently used idle session that is still usable; None: there is none."""
        while self._idle:
            session = self._latest_idle()
            if self._is_good(session):
                return session
            self._close(session)
        return None

    def _take_back(self, session: Session) -> None:
        ours = session in self._in_use
        self._in_use.discard(session)
        if ours and self._is_good(session) and len(self._idle) + len(self._in_use) < self._most:
            session.was_idle = True
            loop = asyncio.get_running_loop()
            self._idle[session] = loop.call_later(self._limits.idle.total_seconds(), self._idle_too_long, session)
        else:
            self._close(session)

    def _is_good(self, session: Session) -> bool:
        return session.is_usable and self.may_go_on(session)

    def _latest_idle(self) -> Session:
        session, timer = self._idle.popitem()
        timer.cancel()
        return session

    def _close_idle(self) -> None:
        while self._idle:
            self._close(self._latest_idle())

    def _idle_too_long(self, session: Session) -> None:
        del self._idle[session]
        self._close(session)

    def _close(self, session: Session) -> None:
        if not session.is_usable:
            session.abort()
            return
        closing = asyncio.create_task(session.quit())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
