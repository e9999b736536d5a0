"""
The lines of an SMTP conversation once it is logged in: commands out, replies in, in their order.

*Decided*: aiosmtplib connects, greets, starts TLS and logs in; then its socket speaks to this
protocol, which can have several commands under way (RFC 2920) and knows of every reply which
command it answers. *Rejected*: aiosmtplib's ``data()``, whose one exception for two replies
hides whether the relay can have taken the letter.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from re import DOTALL
from re import compile as pattern
from typing import Any

from notify.domain.errors import NotifyError

LONGEST_REPLY = 65_536
NEVER = float("inf")
REPLY_LINE = pattern(rb"([2-5]\d\d)(?:([ -])(.*))?", DOTALL)


class ConversationBroken(NotifyError):
    """The conversation with the relay cannot go on."""

    reason = "relay_broken"


class Dropped(ConversationBroken):
    """The relay closed the connection."""

    reason = "relay_dropped"


class Silent(ConversationBroken):
    """The relay did not answer in time."""

    reason = "relay_silent"


class Garbled(ConversationBroken):
    """The relay answered with something that is not SMTP."""

    reason = "relay_garbled"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; its lines are joined by LF."""

    code: int
    text: str


class Conversation(asyncio.Protocol):
    """
    Our side of a conversation; takes over the transport that it is given.

    *Decided*: one timer serves all replies. It goes off at the earliest instant at which one could
    be too late, and is set again if the relay has answered since: a timer for each reply costs
    more than the reply.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._unread = b""
        self._lines: list[bytes] = []
        self._replies: deque[Reply] = deque()
        self._broken: type[ConversationBroken] | None = None
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Future[None] | None = None
        self._too_late_at = NEVER
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = NEVER
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        transport.set_protocol(self)

    @property
    def quiet(self) -> bool:
        """Whether it stands and the relay has said nothing that was not asked for."""
        return self._broken is None and not (self._replies or self._lines or self._unread)

    @property
    def certificate(self) -> Mapping[str, Any]:
        """The relay's certificate as ``ssl.SSLSocket.getpeercert`` has it; empty where there is no TLS."""
        found: Mapping[str, Any] | None = self._transport.get_extra_info("peercert")
        return found or {}

    def say(self, data: bytes) -> None:
        """
        Write without waiting. What the relay said before it hung up can still be read.

        Raises:
            ConversationBroken: It hung up and said nothing.
        """
        if self._transport.is_closing():
            self._break(Dropped)  # a failed write is known here before connection_lost is called
        if self._broken is None:
            self._transport.write(data)
        elif not self._replies:
            raise self._broken

    async def reply(self, *, within: timedelta) -> Reply:
        """
        The next reply, in the order of the commands.

        Raises:
            ConversationBroken: None came in time.
        """
        if not self._replies:
            self._too_late_at = self._loop.time() + within.total_seconds()
        while not self._replies:
            if self._broken is not None:
                raise self._broken
            if self._too_late_at < self._alarm_at:
                self._set_alarm()
            self._listener = self._loop.create_future()
            try:
                await self._listener
            finally:
                self._listener = None
        return self._replies.popleft()

    async def room(self, *, within: timedelta) -> None:
        """
        Return when the relay has taken most of what was written, or has hung up.

        Raises:
            Silent: It took too little in time.
        """
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._writable.wait()
        except TimeoutError:
            raise Silent from None

    async def hung_up(self, *, within: timedelta) -> None:
        """Return when the relay has hung up, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._closed.wait()

    async def end(self, *, within: timedelta) -> None:
        """Close, and return when nothing of the connection is left."""
        self._transport.close()
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._closed.wait()
        except TimeoutError:
            self._transport.abort()

    def close(self) -> None:
        """Close once what was written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was written may never arrive."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._hear(line.rstrip(b"\r"))
        if len(self._unread) + sum(map(len, self._lines)) > LONGEST_REPLY:
            self._break(Garbled)
        self._tell()

    def eof_received(self) -> None:
        self._break(Dropped)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it was lost changes nothing
        self._break(Dropped)
        self._closed.set()
        if self._alarm is not None:
            self._alarm.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _hear(self, line: bytes) -> None:
        found = REPLY_LINE.fullmatch(line)
        if found is None:
            self._break(Garbled)
            return
        code, separator, text = found.groups(b"")
        self._lines.append(text)
        if separator != b"-":
            said = b"\n".join(self._lines).decode(errors="replace")
            self._lines.clear()
            self._replies.append(Reply(int(code), said))

    def _break(self, why: type[ConversationBroken]) -> None:
        self._broken = self._broken or why
        self._tell()
        self._writable.set()

    def _tell(self) -> None:
        """Whoever waits for a reply has something to look at."""
        if self._listener is not None and not self._listener.done():
            self._listener.set_result(None)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._too_late_at
        self._alarm = self._loop.call_at(self._alarm_at, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._alarm, self._alarm_at = None, NEVER
        if self._listener is None or self._listener.done():
            return
        if self._loop.time() < self._too_late_at:
            self._set_alarm()
        else:
            self._listener.set_exception(Silent())
