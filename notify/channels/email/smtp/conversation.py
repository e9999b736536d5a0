"""
The lines of an SMTP conversation once it is logged in: commands out, replies in, in their order.

*Decided*: aiosmtplib connects, greets, starts TLS and logs in; then its socket speaks to this
protocol, which can have several commands under way (RFC 2920) and knows of every reply which
command it answers. *Rejected*: aiosmtplib's ``data()``, whose one exception for two replies
hides whether the relay can have taken the email.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notify.domain.errors import NotifyError

LONGEST_REPLY = 65_536
NEVER = float("inf")
FIRST_CODE, LAST_CODE = b"200", b"599"


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


@dataclass(slots=True)
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

    ``replies`` are those that nobody has taken yet.
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
        self._too_late_at = NEVER
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = NEVER
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        transport.set_protocol(self)

    @property
    def is_idle(self) -> bool:
        """Whether it is open and the relay has said nothing that was not asked for."""
        return self._broken is None and not (self.replies or self.is_in_the_middle_of_a_reply)

    @property
    def is_in_the_middle_of_a_reply(self) -> bool:
        """Whether the relay has sent part of a reply."""
        return bool(self._lines or self._unread)

    @property
    def certificate_ends(self) -> datetime | None:
        """Until when the relay's certificate is valid; None where there is no TLS."""
        certificate = self._transport.get_extra_info("peercert") or {}
        ends = certificate.get("notAfter")
        return None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)

    def say(self, data: bytes) -> None:
        """
        Write without waiting. After the relay has hung up, what it said before can still be read.

        Raises:
            ConversationBroken: It hung up and said nothing.
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
            ConversationBroken: None came in time.
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
        Call *heard* from the event loop's callback whenever the relay has said something.

        It takes what it likes from ``replies`` and calls ``expect`` when it waits for more. Returns when it returns
        False, when the relay has said nothing for so long, or when the conversation has broken; raises what it raises.
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
        """Give the relay so long, from now on, to say something."""
        self._too_late_at = self._loop.time() + within.total_seconds()
        if self._too_late_at < self._alarm_at:
            self._set_alarm()

    async def _more(self) -> None:
        self._listener = self._loop.create_future()
        try:
            await self._listener
        finally:
            self._listener = None

    async def drain(self, *, within: timedelta) -> None:
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
        if not self._transport.is_closing():
            self._transport.close()
        try:
            await self.hung_up(within=within)
        finally:
            if not self._closed.is_set():
                self._transport.abort()  # Python 3.11.2 fails where it is closed already

    def abort(self) -> None:
        """Close at once; what was written may never arrive."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._hear(line.rstrip(b"\r"))
        if (self._unread or self._lines) and len(self._unread) + sum(map(len, self._lines)) > LONGEST_REPLY:
            self._break(Garbled)
        self._wake_listener()

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
        """After words that are no reply nothing is heard: nobody knows which command it would answer."""
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
        """Wake whoever waits for the relay's words, unless the callback wants more of them."""
        waiting = self._listener
        if waiting is None or waiting.done():
            return
        try:
            if self._heard is not None and self._broken is None and self._heard():
                return
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits, and not to the event loop
            waiting.set_exception(error)
        else:
            self._heard = None
            if not waiting.done():
                waiting.set_result(None)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._too_late_at
        self._alarm = self._loop.call_at(self._alarm_at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, NEVER
        if self._listener is None or self._listener.done():
            return
        if self._loop.time() < self._too_late_at:
            self._set_alarm()
        else:
            self._break(Silent)


def stuffed(content: bytes, *, behind: bytes = b"") -> bytes:
    """The content as it follows 354 (RFC 5321 §4.5.2): no line of it can pass for its end, which *behind* follows."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    first = b"." if lines.startswith(b".") else b""
    last = b"" if lines.endswith(b"\r\n") else b"\r\n"
    return b"".join((first, lines, last, b".\r\n", behind))
