"""One standing session with the relay: logged in, ready for letters, one after another."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from notify.channels.email import replies
from notify.channels.email.conversation import Conversation, ConversationBroken, Dropped
from notify.domain.errors import NotifyError
from notify.domain.outcomes import Blame, Outcome, Phase, Released

BLOCK = 65_536
AGREES = {Phase.DATA: 3}
SUCCESS = 2

LEASE_LOST = Released(reason="lease_lost")


class Stale(NotifyError):
    """The relay had closed a resting session; nothing of the letter was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    How long to wait for the relay.

    Source: RFC 5321 §4.5.3.2, but for ``connect`` and ``goodbye`` (QUIT, RSET), where waiting
    longer helps nobody.
    """

    connect: timedelta = timedelta(seconds=30)
    greeting: timedelta = timedelta(minutes=5)
    command: timedelta = timedelta(minutes=5)
    data: timedelta = timedelta(minutes=2)
    block: timedelta = timedelta(minutes=3)
    final_dot: timedelta = timedelta(minutes=10)
    goodbye: timedelta = timedelta(seconds=5)

    @classmethod
    def all(cls, limit: timedelta | None) -> "Timeouts":
        """One limit for every wait; None: those of the RFC."""
        if limit is None:
            return cls()
        return cls(
            connect=limit, greeting=limit, command=limit, data=limit, block=limit, final_dot=limit, goodbye=limit
        )

    def reply_to(self, phase: Phase) -> timedelta:
        """How long the relay may take to answer."""
        return {Phase.DATA: self.data, Phase.FINAL_DOT: self.final_dot}.get(phase, self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A letter's bytes in its envelope; ``international`` means that the relay must offer SMTPUTF8."""

    sender: str
    recipient: str
    international: bool
    content: bytes


class Session:
    """
    One letter at a time; ``fit`` says whether there may be another, ``rested`` that it has waited
    for one long enough to have been forgotten by the relay.

    Args:
        extensions: What the relay announced: keyword in lower case to its parameters.
        opened_at: Seconds of the event loop's clock.
    """

    def __init__(
        self, conversation: Conversation, *, extensions: Mapping[str, str], timeouts: Timeouts, opened_at: float
    ) -> None:
        self.opened_at = opened_at
        self.letters = 0
        self.rested = False
        self.phase = Phase.MAIL
        self._conversation = conversation
        self._extensions = extensions
        self._timeouts = timeouts
        self._clean = True
        self._over = False

    @property
    def fit(self) -> bool:
        """Whether the last letter came to a clean end and the relay has not hung up since."""
        return self._clean and self._conversation.quiet

    async def deliver(self, parcel: Parcel, *, still_ours: Callable[[], bool]) -> Outcome:
        """
        Hand over one letter.

        Args:
            still_ours: Asked before anything commits us to the content, and again just before it.

        Raises:
            Stale: The session had rested and the relay had closed it; another may take the letter.
        """
        obstacle = self._cannot_carry(parcel)
        if obstacle is not None:
            return obstacle
        self.phase = Phase.MAIL
        self.letters += 1
        self._clean = False  # until the end is reached: a time-out, a drop or a cancellation leaves it so
        try:
            outcome = await self._transact(parcel, still_ours)
        except ConversationBroken as end:
            if self.rested and self.phase is Phase.MAIL and isinstance(end, Dropped):
                raise Stale from None
            return replies.broken(self.phase, reason=end.reason)
        if self.rested and self.phase is Phase.MAIL and self._over:
            raise Stale
        return outcome

    async def noop(self) -> Released | None:
        """None when the relay answers, else why the session is of no use."""
        self._clean = False
        try:
            self._conversation.say(b"NOOP\r\n")
            reply = await self._conversation.reply(within=self._timeouts.command)
        except ConversationBroken as end:
            return Released(reason=end.reason, blame=Blame.RELAY)
        self._clean = reply.code // 100 == SUCCESS
        return None if self._clean else replies.unopened(Phase.EHLO, reply.code, reply.text)

    async def quit(self) -> None:
        """Take leave and wait, briefly, until the connection is gone."""
        try:
            self._conversation.say(b"QUIT\r\n")
            await self._conversation.reply(within=self._timeouts.goodbye)
        except ConversationBroken:
            pass
        finally:
            await self._conversation.end(within=self._timeouts.goodbye)

    def dismiss(self) -> None:
        """Take leave without waiting; hang up where the relay might be in the middle of a letter."""
        if self.fit:
            self._conversation.say(b"QUIT\r\n")
            self._conversation.close()
        else:
            self._conversation.abort()

    def _cannot_carry(self, parcel: Parcel) -> Outcome | None:
        if parcel.international and "smtputf8" not in self._extensions:
            return replies.unsendable(reason="smtputf8_not_offered", text="", phase=Phase.MAIL)
        limit = self._extensions.get("size", "").strip()
        if limit.isdigit() and 0 < int(limit) < len(parcel.content):
            text = f"{len(parcel.content)} bytes; the relay takes {limit}"
            return replies.unsendable(reason="oversize", text=text, phase=Phase.MAIL)
        return None

    async def _transact(self, parcel: Parcel, still_ours: Callable[[], bool]) -> Outcome:
        offer = self._offer_at_once if "pipelining" in self._extensions else self._offer_in_turn
        refusal = await offer(commands(parcel, announce_size="size" in self._extensions), still_ours)
        if refusal is not None:
            return refusal
        if not still_ours():
            return LEASE_LOST  # and unfit: after 354, hanging up is the only way not to send
        await self._write(stuffed(parcel.content))
        reply = await self._conversation.reply(within=self._timeouts.final_dot)
        outcome = replies.classify(Phase.FINAL_DOT, reply.code, reply.text)
        self._clean = reply.code // 100 != AGREES[Phase.DATA] and reply.code != replies.CLOSING
        return outcome

    async def _offer_in_turn(self, offer: Mapping[Phase, bytes], still_ours: Callable[[], bool]) -> Outcome | None:
        """None when the relay waits for the content, else what becomes of the letter."""
        for phase, command in offer.items():
            if phase is Phase.DATA and not still_ours():
                return await self._reset(LEASE_LOST)
            self.phase = phase
            self._conversation.say(command)
            refusal = await self._refusal(phase)
            if refusal is not None:
                return await self._reset(refusal)
        return None

    async def _offer_at_once(self, offer: Mapping[Phase, bytes], still_ours: Callable[[], bool]) -> Outcome | None:
        """
        The same in one round trip.

        Source: RFC 2920 §3.1. A relay that says 354 although it refused the recipient waits for
        content that nobody would get: it is left hanging, and the session with it.
        """
        if not still_ours():
            self._clean = True
            return LEASE_LOST
        self._conversation.say(b"".join(offer.values()))
        first: Outcome | None = None
        refusal: Outcome | None = None
        for phase in offer:
            refusal = await self._refusal(phase)
            first = first or refusal
            if self._over:
                return first
        return first if first is None or refusal is None else await self._reset(first)

    async def _refusal(self, phase: Phase) -> Outcome | None:
        """None when the relay agrees, else what becomes of the letter."""
        self.phase = phase
        reply = await self._conversation.reply(within=self._timeouts.reply_to(phase))
        kind = reply.code // 100
        if kind == AGREES.get(phase, SUCCESS):
            return None
        self._over = kind in {SUCCESS, AGREES[Phase.DATA]} or reply.code == replies.CLOSING
        return replies.classify(phase, reply.code, reply.text)

    async def _write(self, data: bytes) -> None:
        """The content; only its last block holds the final dot, so only then can the relay have the letter."""
        for start in range(0, len(data), BLOCK):
            self._conversation.say(data[start : start + BLOCK])
            if start + BLOCK >= len(data):
                self.phase = Phase.FINAL_DOT
            await self._conversation.room(within=self._timeouts.block)

    async def _reset(self, outcome: Outcome) -> Outcome:
        """The same outcome, after making the session ready for another letter if it can be."""
        if not self._over:
            with suppress(ConversationBroken):
                self._conversation.say(b"RSET\r\n")
                reply = await self._conversation.reply(within=self._timeouts.goodbye)
                self._clean = reply.code // 100 == SUCCESS
        return outcome


def commands(parcel: Parcel, *, announce_size: bool) -> Mapping[Phase, bytes]:
    """What is said before the content."""
    options = f" SIZE={len(parcel.content)}" if announce_size else ""
    options += " BODY=8BITMIME SMTPUTF8" if parcel.international else ""
    return {
        Phase.MAIL: f"MAIL FROM:<{parcel.sender}>{options}\r\n".encode(),
        Phase.RCPT: f"RCPT TO:<{parcel.recipient}>\r\n".encode(),
        Phase.DATA: b"DATA\r\n",
    }


def stuffed(content: bytes) -> bytes:
    """The content as it follows 354 (RFC 5321 §4.5.2): no line of it can pass for its end."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    first = b"." if lines.startswith(b".") else b""
    last = b"" if lines.endswith(b"\r\n") else b"\r\n"
    return b"".join((first, lines, last, b".\r\n"))
