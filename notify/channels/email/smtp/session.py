"""One standing session with the relay: logged in, ready for emails, one after another."""

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from re import compile as pattern
from time import monotonic

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.conversation import Conversation, ConversationBroken, Dropped, Garbled, Reply
from notify.domain.jobs import EmailAttempt
from notify.domain.measures import Count, Measure, uncounted
from notify.domain.outcomes import LEASE_LOST, Blame, Dead, Outcome, Phase, Released

BLOCK = 65_536
# What the sample emails of every event type stay below, signed twice and whatever the language.
ORDINARY_BYTES = 16_384
OFFER = (Phase.MAIL, Phase.RCPT, Phase.DATA)
AGREES = {Phase.DATA: 3}
TAKEN = 250
WELCOME = [250, 250, 354]
SUCCESS = 2
REFUSES = (4, 5)

SYSTEM_LIMIT = "5.3.4"
SIZE = pattern(r"[0-9]{1,20}")

# Relays hang up at once after their 221, and until then they count the session.
LAST_MOMENT = timedelta(seconds=1)

NOT_OURS = Released(reason=LEASE_LOST)


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


Following = Callable[[EmailAttempt], EmailAttempt | None]
Told = Callable[[EmailAttempt], None]
Ended = Callable[[EmailAttempt, Outcome], None]


class Session:
    """
    One email after another; ``fit`` says whether there may be more, ``rested`` that it has waited
    for one long enough to have been forgotten by the relay. ``largest`` is how many bytes the relay lets
    a message have, None: it states no limit.

    *Decided*: where the relay announces PIPELINING, the content of an email and the envelope of the
    next travel together, so that an email costs one round trip (RFC 2920 §3.1). The next email is
    at no risk there: its content goes only once the relay has answered for the one before.

    *Decided*: as long as such a relay says nothing but yes, the callback that hears it ends one email and writes
    the next (``_express``), without waking anybody. It leaves every other answer unread, in a state that the careful
    path knows: the content of ``_one`` is with the relay, or its envelope is and the one before has ended.

    Args:
        extensions: What the relay announced: keyword in lower case to its parameters.
        opened_at: Monotonic seconds.
        count: Told how long the relay took, by phase.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        extensions: Mapping[str, str],
        timeouts: Timeouts,
        opened_at: float,
        count: Count = uncounted,
    ) -> None:
        self.opened_at = opened_at
        self.emails = 0
        self.rested = False
        self.phase = Phase.MAIL
        self.largest = size_limit(extensions)
        self._conversation = conversation
        self._extensions = extensions
        self._pipelining = "pipelining" in extensions
        self._announces_size = "size" in extensions
        self._timeouts = timeouts
        self._count = count
        self._clean = True
        self._over = False
        self._one: EmailAttempt | None = None
        self._ahead: EmailAttempt | None = None
        self._offered = False
        self._following: Following
        self._sent: Told
        self._written_at = 0.0

    @property
    def fit(self) -> bool:
        """Whether the last email came to a clean end and the relay has not hung up since."""
        return self._clean and self._conversation.quiet

    @property
    def certificate_ends(self) -> datetime | None:
        """Until when the relay's certificate holds; None where there is no TLS."""
        ends = self._conversation.certificate.get("notAfter")
        return None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)

    @property
    def under_way(self) -> list[EmailAttempt]:
        """The emails that have not ended, the first of them in ``phase``."""
        return [one for one in (self._one, self._ahead) if one is not None]

    async def carry(
        self, first: EmailAttempt, *, following: Following, sent: Told, ended: Ended
    ) -> EmailAttempt | None:
        """
        Hand over emails until there are no more, or the session is of no more use.

        Args:
            following: The one after this, written; None if there is none. Asked when one is about to be of use.
            sent: Told of an email that went by express, with what the relay said noted on it.
            ended: Told what became of any other.

        Returns an email that it had and that the relay has not heard of, for another session.
        """
        self._following, self._sent = following, sent
        self._one = first
        while self._one is not None:
            self.emails += 1
            outcome = await self._outcome(self._one)
            one, self._one, self._ahead = self._one, self._ahead, None
            if outcome is None:
                return one
            ended(one, outcome)
            if self._one is None:
                self._one = following(one) if self.fit else None
            elif not self._clean:
                return self._one
        return None

    async def _outcome(self, one: EmailAttempt) -> Outcome | None:
        """
        What became of the email, or of the last of those that went by express after it.

        None: the relay had forgotten the session and has not heard of the email.
        """
        obstacle = self._cannot_carry(one)
        if obstacle is not None:
            return obstacle
        self.phase = Phase.MAIL
        self._clean = False  # until the end is reached: a time-out, a drop or a cancellation leaves it so
        try:
            outcome = None
            while outcome is None:
                outcome = await self._agreed(one) or await self._told(one)
                one = self._one or one
        except ConversationBroken as end:
            if isinstance(end, Dropped) and self._forgotten:
                return None
            return replies.broken(self.phase, reason=end.reason)
        return None if self._over and self._forgotten else _of_its_size(outcome, one)

    @property
    def _forgotten(self) -> bool:
        """Whether the relay hung up between two emails."""
        return self.phase is Phase.MAIL and (self.rested or self.emails > 1)

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
            await self._conversation.hung_up(within=min(self._timeouts.goodbye, LAST_MOMENT))
        except ConversationBroken:
            pass
        finally:
            await self._conversation.end(within=self._timeouts.goodbye)

    def abort(self) -> None:
        """Hang up without a word: the relay might be in the middle of an email."""
        self._conversation.abort()

    def _cannot_carry(self, one: EmailAttempt) -> Outcome | None:
        if one.international and "smtputf8" not in self._extensions:
            return replies.unsendable(reason="smtputf8_not_offered", text="", phase=Phase.MAIL)
        if self.largest is not None and self.largest < len(one.content):
            text = f"{len(one.content)} bytes; the relay takes {self.largest}"
            return replies.unsendable(reason="oversize", text=text, phase=Phase.MAIL)
        return None

    async def _agreed(self, one: EmailAttempt) -> Outcome | None:
        """None when the relay waits for the content, else what becomes of the email."""
        if not self._pipelining:
            return await self._offer_in_turn(one)
        if not self._offered:
            if monotonic() >= one.leased_until:
                self._clean = True
                return NOT_OURS
            self._conversation.say(self._envelope(one))
        self._offered = False
        return await self._answers_to_envelope()

    async def _offer_in_turn(self, one: EmailAttempt) -> Outcome | None:
        for phase, command in zip(OFFER, self._envelope(one).splitlines(keepends=True), strict=True):
            if phase is Phase.DATA and monotonic() >= one.leased_until:
                return await self._reset(NOT_OURS)
            self.phase = phase
            self._conversation.say(command)
            refusal = await self._refusal(phase)
            if refusal is not None:
                return await self._reset(refusal)
        return None

    async def _answers_to_envelope(self) -> Outcome | None:
        """
        The replies to MAIL, RCPT and DATA, which were said at once.

        Source: RFC 2920 §3.1. A relay that says 354 although it refused the recipient waits for
        content that nobody would get: a lone dot ends it.
        """
        first: Outcome | None = None
        refusal: Outcome | None = None
        for phase in OFFER:
            refusal = await self._refusal(phase)
            first = first or refusal
            if self._over:
                return first
        if first is None or refusal is not None:
            return None if first is None else await self._reset(first)
        return await self._end_empty(first)

    async def _refusal(self, phase: Phase) -> Outcome | None:
        """None when the relay agrees, else what becomes of the email."""
        self.phase = phase
        reply = await self._reply(phase)
        kind = reply.code // 100
        if kind == AGREES.get(phase, SUCCESS):
            return None
        self._over = kind in {SUCCESS, AGREES[Phase.DATA]} or reply.code == replies.CLOSING
        return replies.classify(phase, reply.code, reply.text)

    async def _reply(self, phase: Phase) -> Reply:
        began = monotonic()
        try:
            return await self._conversation.reply(within=self._timeouts.reply_to(phase))
        finally:
            self._count(Measure.SMTP, phase, monotonic() - began)

    async def _told(self, one: EmailAttempt) -> Outcome | None:
        """
        Hand over the content, the envelope of the next email behind it; what the relay says to the content.

        None: it has been ended by express, and what is next to be heard is the answer to the envelope of ``_one``.
        """
        if not self._conversation.quiet:
            return replies.broken(Phase.DATA, reason=Garbled.reason)
        self._ahead = self._following(one) if self._pipelining else None
        if monotonic() >= one.leased_until:
            return NOT_OURS  # and unfit: after 354, hanging up is the only way not to send
        await self._write(stuffed(one.content), self._envelope_behind())
        if self._offered:
            self._written_at = monotonic()
            await self._conversation.watch(self._express, within=self._timeouts.final_dot)
            if self.phase is not Phase.FINAL_DOT:
                return None if self.phase is Phase.MAIL else NOT_OURS
        reply = await self._reply(Phase.FINAL_DOT)
        self._clean = reply.code // 100 != AGREES[Phase.DATA] and reply.code != replies.CLOSING
        return replies.classify(Phase.FINAL_DOT, reply.code, reply.text)

    def _envelope_behind(self) -> bytes:
        """The envelope of the next email, which may follow a content; nothing if it cannot be carried."""
        self._offered = self._ahead is not None and self._cannot_carry(self._ahead) is None
        return self._envelope(self._ahead) if self._ahead is not None and self._offered else b""

    def _express(self) -> bool:
        """
        Take the relay's yes to the content of one email, and then to the envelope of the next, whose content it gets.

        False: anything else was said, or there is nothing to be said behind the content; it is left to ``_told``.
        """
        heard, ahead = self._conversation.replies, self._ahead
        if self.phase is Phase.FINAL_DOT and heard:
            if heard[0].code != TAKEN or ahead is None:
                return False
            self._take(heard.popleft().text, ahead)
        if self.phase is Phase.FINAL_DOT:
            return True
        codes = [reply.code for reply in heard]
        if codes == WELCOME:
            return self._hand_over()
        self._conversation.expect(self._timeouts.command)
        return codes == WELCOME[: len(codes)]

    def _take(self, text: str, ahead: EmailAttempt) -> None:
        """The relay has the email: the one whose envelope it has is next."""
        one, self._one, self._ahead = self._one, ahead, None
        self.phase = Phase.MAIL
        self.emails += 1
        self._count(Measure.SMTP, Phase.FINAL_DOT, monotonic() - self._written_at)
        if one is not None:
            one.code, one.enhanced_code, one.reply = TAKEN, *replies.noted(TAKEN, text)
            self._sent(one)

    def _hand_over(self) -> bool:
        """Write the content of the email whose envelope was agreed to, and the envelope of the next behind it."""
        one = self._one
        if one is None or len(one.content) > BLOCK or self._conversation.is_in_the_middle_of_a_reply:
            return False
        self._conversation.replies.clear()
        self.phase = Phase.DATA
        self._ahead = self._following(one)
        self._written_at = monotonic()
        if self._written_at >= one.leased_until:
            return False
        self.phase = Phase.FINAL_DOT
        with suppress(ConversationBroken):
            self._conversation.say(stuffed(one.content, behind=self._envelope_behind()))
        self._conversation.expect(self._timeouts.final_dot)
        return self._offered

    async def _write(self, content: bytes, behind: bytes) -> None:
        """The content; only its last block holds the final dot, so only then can the relay have the letter."""
        last = max(0, len(content) - 1) // BLOCK * BLOCK
        for start in range(0, last, BLOCK):
            self._conversation.say(content[start : start + BLOCK])
            await self._conversation.room(within=self._timeouts.block)
        self.phase = Phase.FINAL_DOT
        self._conversation.say((content[last:] if last else content) + behind)
        await self._conversation.room(within=self._timeouts.block)

    async def _end_empty(self, refusal: Outcome) -> Outcome:
        """The refusal, after a content of nothing; a relay that takes even that is no longer spoken to."""
        with suppress(ConversationBroken):
            self._conversation.say(b".\r\n")
            reply = await self._conversation.reply(within=self._timeouts.final_dot)
            self._clean = reply.code // 100 in REFUSES and reply.code != replies.CLOSING
        return refusal

    async def _reset(self, outcome: Outcome) -> Outcome:
        """The same outcome, after making the session ready for another email if it can be."""
        if not self._over:
            with suppress(ConversationBroken):
                self._conversation.say(b"RSET\r\n")
                reply = await self._conversation.reply(within=self._timeouts.goodbye)
                self._clean = reply.code // 100 == SUCCESS
        return outcome

    def _envelope(self, one: EmailAttempt) -> bytes:
        """What is said before the content, a line for each phase of ``OFFER``."""
        options = f" SIZE={len(one.content)}" if self._announces_size else ""
        options += " BODY=8BITMIME SMTPUTF8" if one.international else ""
        return f"MAIL FROM:<{one.sender}>{options}\r\nRCPT TO:<{one.recipient}>\r\nDATA\r\n".encode()


def size_limit(extensions: Mapping[str, str]) -> int | None:
    """
    The limit that EHLO announced, in bytes; None where there is none.

    Source: RFC 1870 §4: up to twenty digits; no number, or 0, states no limit.
    """
    stated = extensions.get("size", "").strip()
    return (int(stated) or None) if SIZE.fullmatch(stated) else None


def too_small(limit: int) -> Released:
    """
    Why there is no session with a relay that would refuse ordinary emails for their size.

    Decided: an email of 200 KB that a relay finds too large ends as dead; it is about that email. A relay that finds
    an email of 5 KB too large would refuse all of them, one by one: that is its configuration.
    """
    text = f"it takes messages of up to {limit} bytes, and an ordinary email has up to {ORDINARY_BYTES}"
    return replies.misconfigured(Phase.EHLO, reason="size_limit", text=text)


def _of_its_size(outcome: Outcome, one: EmailAttempt) -> Outcome:
    """
    The same outcome, unless the relay refused an ordinary email for its size.

    Before it knew whom the email was for, that is about us; afterwards it may be the limit of another system behind it,
    or of one mailbox (5.2.3).
    """
    match outcome:
        case Dead(reason="oversize", answer=answer) if len(one.content) <= ORDINARY_BYTES:
            if answer.phase is Phase.MAIL:
                return Released(reason="oversize", blame=Blame.CONFIGURATION, answer=answer)
            if answer.enhanced == SYSTEM_LIMIT:
                return replies.suspicious(reason="oversize", answer=answer)
    return outcome


def stuffed(content: bytes, *, behind: bytes = b"") -> bytes:
    """The content as it follows 354 (RFC 5321 §4.5.2): no line of it can pass for its end, which *behind* follows."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    first = b"." if lines.startswith(b".") else b""
    last = b"" if lines.endswith(b"\r\n") else b"\r\n"
    return b"".join((first, lines, last, b".\r\n", behind))
