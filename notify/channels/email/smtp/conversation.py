"""
The lines of an SMTP conversation after login: commands out, replies in, in order.

*Decided*: aiosmtplib connects, starts TLS and logs in; then this protocol takes over its socket. It can pipeline
commands (RFC 2920) and knows which command each reply answers. *Rejected*: aiosmtplib's ``data()``, whose single
exception for two replies hides whether the relay may have accepted the email.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notify.domain.errors import NotifyError

MAX_REPLY_BYTES = 65_536
NEVER = float("inf")
FIRST_CODE, LAST_CODE = b"200", b"599"


class ConversationBroken(NotifyError):
    """The conversation with the relay broke off."""

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


@dataclass(slots=True)
class Reply:
    """One reply; its lines are joined by LF."""

    code: int
    text: str


class Conversation(asyncio.Protocol):
    """
    The client side of a conversation; takes over the given transport.

    *Decided*: one timer serves all replies. It fires at the earliest possible deadline and is reset if the relay has
    replied since: a timer for each reply would cost more than the reply.

    ``replies`` have been received but not read yet.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._unread = b""
        self._lines: list[bytes] = []
        self.replies: deque[Reply] = deque()
        self._broken: type[ConversationBroken] | None = None
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Future[None] | None = None
        self._heard: Callable[[], bool] | None = None
        self._deadline = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        transport.set_protocol(self)

    @property
    def is_idle(self) -> bool:
        """Whether it is open and there is no unread reply."""
        return self._broken is None and not (self.replies or self.is_in_the_middle_of_a_reply)

    @property
    def is_in_the_middle_of_a_reply(self) -> bool:
        """Whether the relay has sent part of a reply."""
        return bool(self._lines or self._unread)

    @property
    def certificate_ends(self) -> datetime | None:
        """When the relay's certificate expires; None without TLS."""
        certificate = self._transport.get_extra_info("peercert") or {}
        ends = certificate.get("notAfter")
        return None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)

    def say(self, data: bytes) -> None:
        """
        Write without waiting. Replies received before the relay closed the connection can still be read.

        Raises:
            ConversationBroken: The connection is closed and there is no unread reply.
        """
        if self._transport.is_closing():
            self._break(Dropped)  # a failed write is known here before connection_lost is called
        if self._broken is None:
            self._transport.write(data)
        elif not self.replies:
            raise self._broken

    async def reply(self, *, within: timedelta) -> Reply:
        """
        The next reply, in the order of the commands.

        Raises:
            ConversationBroken: There was none in time.
        """
        if not self.replies:
            self.expect(within)
        while not self.replies:
            if self._broken is not None:
                raise self._broken
            await self._more()
        return self.replies.popleft()

    async def watch(self, heard: Callable[[], bool], *, within: timedelta) -> None:
        """
        Call *heard* from the event loop's callback whenever data arrives.

        *heard* takes replies from ``replies`` and calls ``expect`` when it waits for more. Returns when *heard* returns
        False, on timeout, or when the conversation breaks off; exceptions of *heard* are raised here.
        """
        self.expect(within)
        if not heard():
            return
        self._heard = heard
        try:
            while self._broken is None and self._heard is not None:
                await self._more()
        finally:
            self._heard = None

    def expect(self, within: timedelta) -> None:
        """Set the deadline for the next data from the relay."""
        self._deadline = self._loop.time() + within.total_seconds()
        if self._deadline < self._timer_at:
            self._set_timer()

    async def _more(self) -> None:
        self._listener = self._loop.create_future()
        try:
            await self._listener
        finally:
            self._listener = None

    async def drain(self, *, within: timedelta) -> None:
        """
        Return when most of the written data has been sent, or the relay has closed the connection.

        Raises:
            Silent: Sending took too long.
        """
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._writable.wait()
        except TimeoutError:
            raise Silent from None

    async def hung_up(self, *, within: timedelta) -> None:
        """Return when the relay has closed the connection, or on timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._closed.wait()

    async def end(self, *, within: timedelta) -> None:
        """Close, and return when the connection is closed."""
        if not self._transport.is_closing():
            self._transport.close()
        try:
            await self.hung_up(within=within)
        finally:
            if not self._closed.is_set():
                self._transport.abort()  # Python 3.11.2 fails if it is already closed

    def abort(self) -> None:
        """Close without waiting; written data may be lost."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._read_line(line.rstrip(b"\r"))
        if (self._unread or self._lines) and len(self._unread) + sum(map(len, self._lines)) > MAX_REPLY_BYTES:
            self._break(Garbled)
        self._wake_listener()

    def eof_received(self) -> None:
        self._break(Dropped)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause does not matter
        self._break(Dropped)
        self._closed.set()
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read_line(self, line: bytes) -> None:
        """Ignore everything after an invalid line, because it is unclear which command a reply would answer."""
        if self._broken is not None:
            return
        code, separator = line[:3], line[3:4]
        if not (FIRST_CODE <= code <= LAST_CODE and code.isdigit() and len(code) == len(FIRST_CODE)):
            self._break(Garbled)
        elif separator == b"-":
            self._lines.append(line[4:])
        elif separator not in {b" ", b""}:
            self._break(Garbled)
        else:
            text = b"\n".join((*self._lines, line[4:])) if self._lines else line[4:]
            self._lines.clear()
            self.replies.append(Reply(int(code), text.decode(errors="replace")))

    def _break(self, why: type[ConversationBroken]) -> None:
        self._broken = self._broken or why
        self._wake_listener()
        self._writable.set()

    def _wake_listener(self) -> None:
        """Wake the task that waits for data, unless the callback handles it and wants more."""
        waiting = self._listener
        if waiting is None or waiting.done():
            return
        try:
            if self._heard is not None and self._broken is None and self._heard():
                return
        except Exception as error:  # noqa: BLE001 - raised where somebody waits, not in the event loop
            waiting.set_exception(error)
        else:
            self._heard = None
            if not waiting.done():
                waiting.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, NEVER
        if self._listener is None or self._listener.done():
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self._break(Silent)


def stuffed(content: bytes, *, behind: bytes = b"") -> bytes:
    """The dot-stuffed content with its final dot (RFC 5321 §4.5.2), followed by *behind*."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    first = b"." if lines.startswith(b".") else b""
    last = b"" if lines.endswith(b"\r\n") else b"\r\n"
    return b"".join((first, lines, last, b".\r\n", behind))
