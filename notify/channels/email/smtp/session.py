"""A logged-in session with the relay, which sends one email after another."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from time import monotonic

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.conversation import Conversation, ConversationBroken, Dropped, Garbled, Reply, stuffed
from notify.channels.email.smtp.limits import Timeouts, blamed_for_size, size_limit
from notify.domain.jobs import EmailAttempt
from notify.domain.measures import Count, Measure, no_count
from notify.domain.outcomes import LEASE_LOST, Blame, Outcome, Phase, Released

BLOCK = 65_536
ENVELOPE = (Phase.MAIL, Phase.RCPT, Phase.DATA)
POSITIVE = {Phase.MAIL: 2, Phase.RCPT: 2, Phase.DATA: 3}
TAKEN = 250
ENVELOPE_TAKEN = [250, 250, 354]
SUCCESS, INTERMEDIATE = 2, 3
REFUSES = (4, 5)

# Relays close the connection right after their 221, and count the session until then.
QUIT_TIMEOUT = timedelta(seconds=1)

NOT_OURS = Released(reason=LEASE_LOST)

Following = Callable[[EmailAttempt], EmailAttempt | None]
OnSent = Callable[[EmailAttempt], None]
OnEnded = Callable[[EmailAttempt, Outcome], None]


class Session:
    """
    Sends one email after another over one connection.

    *Decided*: with PIPELINING, the content of an email and the envelope of the next are written together, so that an
    email costs one round trip (RFC 2920 §3.1). This is safe for the next email: its content is sent only after the
    reply to the one before.

    *Decided*: while such a relay accepts everything, the callback that receives its replies finishes one email and
    writes the next (``_express``), without waking a task. It leaves any other reply unread, in one of two states that
    the normal path handles: the relay has the content of ``_current``, or its envelope with the one before finished.

    Args:
        extensions: Announced by the relay: keyword in lower case to parameters.
        opened_at: Monotonic seconds.
        count: Counts the relay's response times, by phase.

    Attributes:
        emails: How many it has started to send.
        was_idle: It has been idle, so the relay may have closed it.
        phase: The step that the relay has to answer next.
        largest: The relay's size limit in bytes; None: none announced.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        extensions: Mapping[str, str],
        timeouts: Timeouts,
        opened_at: float,
        count: Count = no_count,
    ) -> None:
        self.opened_at = opened_at
        self.emails = 0
        self.was_idle = False
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
        self._current: EmailAttempt | None = None
        self._next: EmailAttempt | None = None
        self._envelope_sent = False
        self._following: Following
        self._sent: OnSent
        self._written_at = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether the last email ended cleanly and the connection is still open."""
        return self._clean and self._conversation.is_idle

    @property
    def certificate_ends(self) -> datetime | None:
        return self._conversation.certificate_ends

    @property
    def in_flight(self) -> list[EmailAttempt]:
        """The unfinished emails, the first of them in ``phase``."""
        return [one for one in (self._current, self._next) if one is not None]

    async def carry(
        self, first: EmailAttempt, *, following: Following, sent: OnSent, ended: OnEnded
    ) -> EmailAttempt | None:
        """
        Send emails until there are no more, or the session is unusable.

        Args:
            following: Returns the rendered email to send next; None: there is none. Called as late as possible.
            sent: Called for an email accepted on the express path, with the reply stored on it.
            ended: Called with the outcome of any other email.

        Returns an email that the relay does not know of, for another session.
        """
        self._following, self._sent = following, sent
        self._current = first
        while self._current is not None:
            self.emails += 1
            outcome = await self._outcome(self._current)
            one, self._current, self._next = self._current, self._next, None
            if outcome is None:
                return one
            ended(one, outcome)
            if self._current is None:
                self._current = following(one) if self.is_usable else None
            elif not self._clean:
                return self._current
        return None

    async def _outcome(self, one: EmailAttempt) -> Outcome | None:
        """
        The outcome of the email, or of the last one sent by express after it.

        None: the relay had closed the session and does not know of the email.
        """
        obstacle = self._obstacle(one)
        if obstacle is not None:
            return obstacle
        self.phase = Phase.MAIL
        self._clean = False  # stays so after a timeout, a drop or a cancellation
        try:
            outcome = None
            while outcome is None:
                outcome = await self._send_envelope(one) or await self._send_content(one)
                one = self._current or one
        except ConversationBroken as end:
            if isinstance(end, Dropped) and self._closed_between_emails:
                return None
            return replies.broken(self.phase, reason=end.reason)
        return None if self._over and self._closed_between_emails else blamed_for_size(outcome, len(one.content))

    @property
    def _closed_between_emails(self) -> bool:
        """Whether the relay closed the connection between two emails."""
        return self.phase is Phase.MAIL and (self.was_idle or self.emails > 1)

    async def noop(self) -> Released | None:
        """None if the relay replies, else why the session is unusable."""
        self._clean = False
        try:
            self._conversation.say(b"NOOP\r\n")
            reply = await self._conversation.reply(within=self._timeouts.command)
        except ConversationBroken as end:
            return Released(reason=end.reason, blame=Blame.RELAY)
        self._clean = reply.code // 100 == SUCCESS
        return None if self._clean else replies.unopened(Phase.EHLO, reply.code, reply.text)

    async def quit(self) -> None:
        """Send QUIT and wait briefly until the connection is closed."""
        try:
            self._conversation.say(b"QUIT\r\n")
            await self._conversation.reply(within=self._timeouts.goodbye)
            await self._conversation.hung_up(within=min(self._timeouts.goodbye, QUIT_TIMEOUT))
        except ConversationBroken:
            pass
        finally:
            await self._conversation.end(within=self._timeouts.goodbye)

    def abort(self) -> None:
        """Close without QUIT, because the relay might be in the middle of an email."""
        self._conversation.abort()

    def _obstacle(self, one: EmailAttempt) -> Outcome | None:
        """Why this relay cannot accept the email, from what it announced; None: it can."""
        if one.international and "smtputf8" not in self._extensions:
            return replies.unsendable(reason="smtputf8_not_offered", text="", phase=Phase.MAIL)
        if self.largest is not None and self.largest < len(one.content):
            text = f"{len(one.content)} bytes; the relay accepts {self.largest}"
            return replies.unsendable(reason="oversize", text=text, phase=Phase.MAIL)
        return None

    async def _send_envelope(self, one: EmailAttempt) -> Outcome | None:
        """None if the relay waits for the content, else the outcome."""
        if not self._pipelining:
            return await self._send_envelope_line_by_line(one)
        if not self._envelope_sent:
            if monotonic() >= one.leased_until:
                self._clean = True
                return NOT_OURS
            self._conversation.say(self._envelope(one))
        self._envelope_sent = False
        return await self._answers_to_envelope()

    async def _send_envelope_line_by_line(self, one: EmailAttempt) -> Outcome | None:
        for phase, command in zip(ENVELOPE, self._envelope(one).splitlines(keepends=True), strict=True):
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
        Read the replies to MAIL, RCPT and DATA, which were sent together.

        Source: RFC 2920 §3.1. A relay that replies 354 although it refused the recipient waits for content, which a
        lone dot ends.
        """
        first: Outcome | None = None
        for phase in ENVELOPE:
            refusal = await self._refusal(phase)
            first = first or refusal
            if self._over:
                return first
        if first is None:
            return None
        return await (self._end_empty(first) if refusal is None else self._reset(first))

    async def _refusal(self, phase: Phase) -> Outcome | None:
        """None if the relay accepts the command, else the outcome."""
        self.phase = phase
        reply = await self._reply(phase)
        kind = reply.code // 100
        if kind == POSITIVE[phase]:
            return None
        self._over = kind in {SUCCESS, INTERMEDIATE} or reply.code == replies.CLOSING
        return replies.classify(phase, reply.code, reply.text)

    async def _reply(self, phase: Phase) -> Reply:
        began = monotonic()
        try:
            return await self._conversation.reply(within=self._timeouts.reply_to(phase))
        finally:
            self._count(Measure.SMTP, phase, monotonic() - began)

    async def _send_content(self, one: EmailAttempt) -> Outcome | None:
        """
        Send the content, followed by the envelope of the next email; returns the outcome.

        None: finished by express; next comes the reply to the envelope of ``_current``.
        """
        if not self._conversation.is_idle:
            return replies.broken(Phase.DATA, reason=Garbled.reason)
        self._next = self._following(one) if self._pipelining else None
        if monotonic() >= one.leased_until:
            return NOT_OURS  # the session stays unusable: after 354, only closing prevents sending
        await self._write(stuffed(one.content), self._next_envelope())
        if self._envelope_sent:
            self._written_at = monotonic()
            await self._conversation.watch(self._express, within=self._timeouts.final_dot)
            if self.phase is not Phase.FINAL_DOT:
                return None if self.phase is Phase.MAIL else NOT_OURS
        reply = await self._reply(Phase.FINAL_DOT)
        self._clean = reply.code // 100 != INTERMEDIATE and reply.code != replies.CLOSING
        return replies.classify(Phase.FINAL_DOT, reply.code, reply.text)

    def _next_envelope(self) -> bytes:
        """The envelope of the next email; empty if it cannot be sent."""
        self._envelope_sent = self._next is not None and self._obstacle(self._next) is None
        return self._envelope(self._next) if self._next is not None and self._envelope_sent else b""

    def _express(self) -> bool:
        """
        If the relay accepted one email and the envelope of the next, send the next one's content.

        False: there was any other reply, or no email follows; ``_send_content`` handles it.
        """
        heard, following = self._conversation.replies, self._next
        if self.phase is Phase.FINAL_DOT and heard:
            if heard[0].code != TAKEN or following is None:
                return False
            self._end_as_sent(heard.popleft().text, following)
        if self.phase is Phase.FINAL_DOT:
            return True
        codes = [reply.code for reply in heard]
        if codes == ENVELOPE_TAKEN:
            return self._send_content_by_express()
        self._conversation.expect(self._timeouts.command)
        return codes == ENVELOPE_TAKEN[: len(codes)]

    def _end_as_sent(self, text: str, following: EmailAttempt) -> None:
        """Finish the accepted email; the one whose envelope was sent is current now."""
        one, self._current, self._next = self._current, following, None
        self.phase = Phase.MAIL
        self.emails += 1
        self._count(Measure.SMTP, Phase.FINAL_DOT, monotonic() - self._written_at)
        if one is not None:
            one.code, one.enhanced_code, one.reply = TAKEN, *replies.stored(TAKEN, text)
            self._sent(one)

    def _send_content_by_express(self) -> bool:
        """Write the content of the current email, followed by the envelope of the next."""
        one = self._current
        if one is None or len(one.content) > BLOCK or self._conversation.is_in_the_middle_of_a_reply:
            return False
        self._conversation.replies.clear()
        self.phase = Phase.DATA
        self._next = self._following(one)
        self._written_at = monotonic()
        if self._written_at >= one.leased_until:
            return False
        self.phase = Phase.FINAL_DOT
        with suppress(ConversationBroken):
            self._conversation.say(stuffed(one.content, behind=self._next_envelope()))
        self._conversation.expect(self._timeouts.final_dot)
        return self._envelope_sent

    async def _write(self, content: bytes, behind: bytes) -> None:
        """Write the content; only its last block has the final dot, so the relay cannot accept the email before."""
        last = max(0, len(content) - 1) // BLOCK * BLOCK
        for start in range(0, last, BLOCK):
            self._conversation.say(content[start : start + BLOCK])
            await self._conversation.drain(within=self._timeouts.block)
        self.phase = Phase.FINAL_DOT
        self._conversation.say((content[last:] if last else content) + behind)
        await self._conversation.drain(within=self._timeouts.block)

    async def _end_empty(self, refusal: Outcome) -> Outcome:
        """Send empty content and return the refusal; if the relay accepts even that, the session is unusable."""
        with suppress(ConversationBroken):
            self._conversation.say(b".\r\n")
            reply = await self._conversation.reply(within=self._timeouts.final_dot)
            self._clean = reply.code // 100 in REFUSES and reply.code != replies.CLOSING
        return refusal

    async def _reset(self, outcome: Outcome) -> Outcome:
        """Send RSET if the session is still usable, and return the outcome."""
        if not self._over:
            with suppress(ConversationBroken):
                self._conversation.say(b"RSET\r\n")
                reply = await self._conversation.reply(within=self._timeouts.goodbye)
                self._clean = reply.code // 100 == SUCCESS
        return outcome

    def _envelope(self, one: EmailAttempt) -> bytes:
        """The commands before the content, one line for each phase of ``ENVELOPE``."""
        options = f" SIZE={len(one.content)}" if self._announces_size else ""
        options += " BODY=8BITMIME SMTPUTF8" if one.international else ""
        return f"MAIL FROM:<{one.sender}>{options}\r\nRCPT TO:<{one.recipient}>\r\nDATA\r\n".encode()
