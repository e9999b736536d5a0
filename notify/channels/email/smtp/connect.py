"""Opens a session: connect, greeting, EHLO, TLS, login."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterator
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from socket import SOCK_STREAM, socket
from time import monotonic
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.conversation import Conversation
from notify.channels.email.smtp.limits import ORDINARY_BYTES, Timeouts, size_limit, too_small
from notify.channels.email.smtp.login import NoMechanism, log_in, secrets
from notify.channels.email.smtp.oauth import AccessTokens, obstacle
from notify.channels.email.smtp.relay import FALLBACKS, SETTING, Encryption, Relay
from notify.channels.email.smtp.session import Session
from notify.domain.errors import InvalidSettings, RelayUnavailable
from notify.domain.measures import Count, Measure, no_count
from notify.domain.outcomes import Phase, Released

CREDENTIALS_INVALID = 535

Step = Callable[[], Awaitable[object]]


class _Client(SMTP):
    """
    aiosmtplib's client, which closes its connection reliably.

    Its own ``close`` waits for the relay to end TLS, which a silent relay never does.
    """

    def close(self) -> None:
        """Close without waiting."""
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()
        super().close()


class StarttlsNotOffered(RelayUnavailable):
    """The relay does not offer STARTTLS, which the settings require."""


def tls_context(relay: Relay) -> ssl.SSLContext:
    """
    The context that checks the relay's certificate, with the authorities in its URL, else the system's.

    Without TLS it trusts nobody, because loading the system's authorities takes megabytes.

    Raises:
        InvalidSettings: The file with its authorities is unreadable or has no certificate.
    """
    if relay.encryption is Encryption.PLAIN:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=relay.ca)
    except OSError as error:  # an SSLError is one too
        words = "it contains no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise InvalidSettings(_refused(relay, f"ca={str(relay.ca)!r}: {words}")) from None


class Connector:
    """
    Opens sessions with one relay.

    Args:
        tls: For checking the relay's certificate; None: as its URL says.
        count: Counts the relay's response times, by phase.

    Raises:
        InvalidSettings: A file in its URL cannot be used, or access tokens cannot be obtained.
    """

    def __init__(
        self, relay: Relay, *, timeouts: Timeouts, tls: ssl.SSLContext | None = None, count: Count = no_count
    ) -> None:
        self._relay = relay
        self._timeouts = timeouts
        self._tls = tls or tls_context(relay)
        self._count = count
        self._tokens: AccessTokens | None = None
        if relay.tokens is not None:
            if (words := obstacle(relay.tokens)) is not None:
                raise InvalidSettings(_refused(relay, words))
            self._tokens = AccessTokens(relay.tokens, patience=timeouts.command)

    async def connect(self) -> Session | Released:
        """
        A session that is ready for emails, or why there is none. Sends no email.

        If the relay refuses a token, tries once more with a new one, over another connection.
        """
        if self._tokens is None:
            return await self._opened(token=None)
        token = await self._tokens.current()
        if isinstance(token, Released):
            return token
        found = await self._opened(token=token)
        if not _refuses_the_token(found):
            return found
        newer = await self._tokens.current(refused=token)
        if isinstance(newer, Released):
            return newer
        return found if newer == token else await self._opened(token=newer)

    async def _opened(self, *, token: str | None) -> Session | Released:
        phase = Phase.CONNECT
        client = _Client(
            hostname=self._relay.host,
            use_tls=self._relay.encryption is Encryption.IMPLICIT_TLS,
            start_tls=False,
            tls_context=self._tls,
            timeout=self._timeouts.command.total_seconds(),
        )
        try:
            for phase, step in self._steps(client, token):
                began = monotonic()
                try:
                    await step()
                finally:
                    self._count(Measure.SMTP, phase, monotonic() - began)
        except (SMTPException, OSError, RelayUnavailable) as error:
            client.close()
            return _released(phase, error, hide=secrets(self._relay, token))
        except BaseException:
            client.close()
            raise
        extensions = dict(client.esmtp_extensions)
        limit = size_limit(extensions)
        if limit is not None and limit < ORDINARY_BYTES:
            client.close()
            return too_small(limit)
        return Session(
            Conversation(cast("asyncio.Transport", client.transport)),
            extensions=extensions,
            timeouts=self._timeouts,
            opened_at=monotonic(),
            count=self._count,
        )

    def _steps(self, client: SMTP, token: str | None) -> Iterator[tuple[Phase, Step]]:
        relay, timeouts = self._relay, self._timeouts
        yield Phase.CONNECT, partial(_dial, client, relay, within=timeouts.connect)
        yield Phase.GREETING, partial(client.connect, timeout=timeouts.greeting.total_seconds())
        yield Phase.EHLO, client.ehlo
        if relay.encryption is Encryption.STARTTLS:
            yield Phase.TLS, partial(_start_tls, client)
            yield Phase.EHLO, client.ehlo
        if relay.username is not None:
            yield Phase.AUTH, partial(log_in, client, relay, token)


def _refused(relay: Relay, words: str) -> str:
    return f"the URL of relay {relay.name} in {SETTING} or {FALLBACKS} is invalid: {words}"


def _refuses_the_token(found: Session | Released) -> bool:
    answer = found.answer if isinstance(found, Released) else None
    return answer is not None and answer.phase is Phase.AUTH and answer.code == CREDENTIALS_INVALID


async def _dial(client: SMTP, relay: Relay, *, within: timedelta) -> None:
    """
    Give the client a connected socket.

    aiosmtplib has a single timeout for connecting and for the greeting, which differ tenfold.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(within.total_seconds()):
        found = await loop.getaddrinfo(relay.lookup, relay.port, type=SOCK_STREAM)
        refusal: OSError | None = None
        for family, kind, protocol, _, where in found:
            client.sock = socket(family, kind, protocol)
            client.sock.setblocking(False)
            try:
                async with asyncio.timeout(within.total_seconds() / len(found)):
                    await loop.sock_connect(client.sock, where)
            except OSError as error:
                client.sock.close()
                refusal = error
            except BaseException:
                client.sock.close()
                raise
            else:
                client.local_hostname = relay.ehlo_name or _own_address(client.sock)
                return
    raise refusal or OSError("the relay's name has no address")


def _own_address(connected: socket) -> str:
    """
    Our name in EHLO if we have no full host name.

    Source: RFC 5321 §4.1.4: an address literal.
    """
    own = ip_address(connected.getsockname()[0].partition("%")[0])
    return f"[IPv6:{own}]" if own.version == 6 else f"[{own}]"  # noqa: PLR2004 - the version's name


async def _start_tls(client: SMTP) -> None:
    if not client.supports_extension("starttls"):
        raise StarttlsNotOffered
    await client.starttls()


def _released(phase: Phase, error: BaseException, *, hide: Collection[str]) -> Released:  # noqa: PLR0911 - one line a cause
    """Why a session could not be opened, from the first known cause."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case SMTPResponseException(code=code, message=words):
                return replies.unopened(phase, code, words, hide=hide)
            case NoMechanism(words=words):
                return replies.misconfigured(phase, reason="auth_not_offered", text=words)
            case StarttlsNotOffered():
                return replies.unreachable(phase, reason="starttls_not_offered", text="the relay offers no STARTTLS")
            case ssl.SSLCertVerificationError(verify_message=words):
                return replies.misconfigured(Phase.TLS, reason="certificate", text=words)
            case ssl.SSLError(reason=words):
                return replies.unreachable(Phase.TLS, reason="tls_failed", text=words or "")
            case TimeoutError():
                return replies.unreachable(phase, reason="relay_silent", text="no reply in time")
            case OSError(strerror=words) if words and phase is Phase.CONNECT:
                return replies.unreachable(phase, reason="relay_unreachable", text=words)
        cause = cause.__cause__
    return replies.unreachable(phase, reason="relay_dropped", text="the relay closed the connection")
