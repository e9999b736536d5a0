"""The email channel: renders emails, sends them by SMTP, and reports outcomes."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from traceback import format_tb

import structlog

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.connect import Connector
from notify.channels.email.smtp.limits import Timeouts
from notify.channels.email.smtp.pool import Pool, SessionLimits
from notify.channels.email.smtp.relay import Relay
from notify.channels.email.smtp.session import Following, OnEnded, OnSent, Session
from notify.channels.email.writing.compose import Composer
from notify.channels.email.writing.headers import UnusableAddress, stated_address
from notify.channels.email.writing.render import TemplateFailure
from notify.domain.errors import UnsafeHeader
from notify.domain.fan_out import Why
from notify.domain.jobs import EmailAttempt
from notify.domain.measures import Count, no_count
from notify.domain.outcomes import INTERNAL_ERROR, Outcome, Phase, Released, Sent, Skipped
from notify.domain.rates import Rate

SESSIONS = 8

log = structlog.get_logger(__name__)


class EmailChannel:
    """
    Sends emails to an SMTP relay; implements ``notify.domain.ports.Channel``.

    Args:
        bounce_address: Envelope sender, to which bounces go.
        sessions: Maximum number of concurrent sessions.
        timeout: One limit for every wait; None: those of RFC 5321.
        limits: When to replace a session.
        sign: Prepends a DKIM signature; None: do not sign.
        tls: For checking the relay's certificate; None: as its URL says.
        now: The date of emails, aware UTC.
        count: Counts the relay's response times.
    """

    def __init__(
        self,
        relay: Relay,
        composer: Composer,
        *,
        bounce_address: str,
        sessions: int = SESSIONS,
        timeout: timedelta | None = None,
        limits: SessionLimits | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        count: Count = no_count,
    ) -> None:
        self._relay = relay
        self._composer = composer
        self._sender = stated_address("NOTIFY_BOUNCE_ADDRESS", bounce_address)
        self._sessions = sessions
        self._sign = sign
        self._now = now
        connector = Connector(relay, timeouts=Timeouts.all(timeout), tls=tls, count=count)
        self._pool = Pool(
            connector.connect,
            size=sessions,
            limits=limits or SessionLimits(),
            counted=relay.fleet_sessions is not None,
        )

    @property
    def relay(self) -> str:
        """The relay without credentials: ``host:port``."""
        return self._relay.name

    @property
    def sessions(self) -> int:
        return self._sessions

    @property
    def fleet_sessions(self) -> int | None:
        return self._relay.fleet_sessions

    @property
    def open_sessions(self) -> int:
        return self._pool.open_sessions

    def limit(self, sessions: int) -> None:
        """Close idle sessions above this number."""
        self._pool.limit(sessions)

    @property
    def rate(self) -> Rate | None:
        return None if self._relay.per_second is None else Rate.per_second(self._relay.per_second)

    async def open(self) -> Released | None:
        """Make sure that there is a session, without sending an email. None: there is; else why not."""
        if self._pool.is_in_use:
            return None
        if self._pool.has_idle and await self._probe(fresh=False) is None:
            return None
        return await self._probe(fresh=True)

    async def carry(
        self,
        first: EmailAttempt,
        *,
        following: Following,
        sent: OnSent,
        ended: OnEnded,
    ) -> None:
        """Render and send emails, one after the other, over one session as long as it is usable."""
        left = self._writable(first, following, ended)
        fresh = False
        while left is not None:
            left = await self._carried(left, fresh=fresh, following=following, sent=sent, ended=ended)
            fresh = True

    async def send(self, email: EmailAttempt) -> Outcome:
        """Render and send one email by itself."""
        outcomes: list[Outcome] = []
        await self.carry(
            email,
            following=lambda _: None,
            sent=lambda one: outcomes.append(Sent(answer=one.answer)),
            ended=lambda _, outcome: outcomes.append(outcome),
        )
        return outcomes[0]

    async def close(self) -> None:
        """Close all sessions with QUIT. The channel may be opened again."""
        await self._pool.close()

    def _writable(self, email: EmailAttempt | None, following: Following, ended: OnEnded) -> EmailAttempt | None:
        """Render the email, or the first after it that can be rendered; report the outcomes of the others."""
        while email is not None:
            obstacle = self._write(email)
            if obstacle is None:
                return email
            ended(email, obstacle)
            email = following(email)
        return None

    def _write(self, email: EmailAttempt) -> Outcome | None:
        """Render and sign the email. None: done; else why it cannot be."""
        try:
            composed = self._composer.compose(email.facts, date=self._now())
            content = self._sign(composed.content) if self._sign else composed.content
        except TemplateFailure as error:
            return replies.unsendable(reason="template_error", text=str(error))
        except UnsafeHeader as error:
            return replies.unsendable(reason="unsafe_header", text=str(error))
        except UnusableAddress:
            return Skipped(reason=Why.BAD_ADDRESS)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the other emails; it is logged
            _log_bug(error, Phase.RENDER)
            return replies.internal_error(Phase.RENDER, name=type(error).__name__)
        email.sender, email.recipient, email.content = self._sender.text, composed.recipient, content
        email.international = composed.international or self._sender.international
        return None

    async def _probe(self, *, fresh: bool) -> Released | None:
        try:
            async with self._pool.lend(fresh=fresh) as session:
                return session if isinstance(session, Released) else await session.noop()
        except Exception as error:  # noqa: BLE001 - a bug must not stop the worker; it is logged
            _log_bug(error, Phase.CONNECT)
            return replies.misconfigured(Phase.CONNECT, reason=INTERNAL_ERROR, text=type(error).__name__)

    async def _carried(
        self, first: EmailAttempt, *, fresh: bool, following: Following, sent: OnSent, ended: OnEnded
    ) -> EmailAttempt | None:
        """Send over one session; returns an email that needs another session."""
        session: Session | Released | None = None
        try:
            async with self._pool.lend(fresh=fresh) as session:
                if isinstance(session, Released):
                    ended(first, session)
                    return None
                return await session.carry(
                    first, following=partial(self._next, session, following, ended), sent=sent, ended=ended
                )
        except Exception as error:  # noqa: BLE001 - a bug must not stop the other emails; it is logged
            phase, left = Phase.CONNECT, [first]
            if isinstance(session, Session):
                phase, left = session.phase, session.in_flight
            _log_bug(error, phase)
            for one in left:
                ended(one, replies.internal_error(phase, name=type(error).__name__))
                phase = Phase.MAIL  # the relay does not know of the next email
            return None

    def _next(self, session: Session, following: Following, ended: OnEnded, email: EmailAttempt) -> EmailAttempt | None:
        return self._writable(following(email), following, ended) if self._pool.may_go_on(session) else None


def _log_bug(error: Exception, phase: Phase) -> None:
    """Log where it happened, without the message and values, which may contain an address or a comment."""
    deepest = error.__cause__ or error
    log.error(
        "email.internal_error",
        phase=phase.value,
        error=type(deepest).__name__,
        trace="".join(format_tb(deepest.__traceback__)),
    )
