"""From nothing to a session that is ready for letters: dial, be greeted, TLS, log in."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from socket import SOCK_STREAM, socket
from time import monotonic
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from notify.channels.email import replies
from notify.channels.email.conversation import Conversation
from notify.channels.email.relay import Guard, Relay
from notify.channels.email.session import ORDINARY_BYTES, Session, Timeouts, size_limit, too_small
from notify.domain.errors import RelayUnavailable
from notify.domain.measures import Count, Measure
from notify.domain.outcomes import Phase, Released

Step = Callable[[], Awaitable[object]]


class NotOffered(RelayUnavailable):
    """The relay does not offer what the settings require."""


async def connect(relay: Relay, *, timeouts: Timeouts, tls: ssl.SSLContext, count: Count) -> Session | Released:
    """
    A session that is ready for letters, or why there is none. No letter is risked.

    Args:
        tls: Checks the relay's certificate.
        count: Told how long the relay took, by phase.
    """
    phase = Phase.CONNECT
    client = SMTP(
        hostname=relay.host,
        use_tls=relay.guard is Guard.IMPLICIT_TLS,
        start_tls=False,
        tls_context=tls,
        timeout=timeouts.command.total_seconds(),
    )
    try:
        for phase, step in _steps(client, relay, timeouts):
            await _timed(phase, step, count)
    except (SMTPException, OSError, NotOffered) as error:
        _hang_up(client)
        return _why(phase, error, relay)
    except BaseException:
        _hang_up(client)
        raise
    extensions = dict(client.esmtp_extensions)
    limit = size_limit(extensions)
    if limit is not None and limit < ORDINARY_BYTES:
        _hang_up(client)
        return too_small(limit)
    return Session(
        Conversation(cast("asyncio.Transport", client.transport)),
        extensions=extensions,
        timeouts=timeouts,
        opened_at=asyncio.get_running_loop().time(),
        count=count,
    )


async def _timed(phase: Phase, step: Step, count: Count) -> None:
    began = monotonic()
    try:
        await step()
    finally:
        count(Measure.SMTP, phase, monotonic() - began)


def _steps(client: SMTP, relay: Relay, timeouts: Timeouts) -> Iterator[tuple[Phase, Step]]:
    yield Phase.CONNECT, partial(_dial, client, relay, within=timeouts.connect)
    yield Phase.GREETING, partial(client.connect, timeout=timeouts.greeting.total_seconds())
    yield Phase.EHLO, client.ehlo
    if relay.guard is Guard.STARTTLS:
        yield Phase.TLS, partial(_start_tls, client)
        yield Phase.EHLO, client.ehlo
    if relay.username is not None:
        yield Phase.AUTH, partial(_log_in, client, relay)


async def _dial(client: SMTP, relay: Relay, *, within: timedelta) -> None:
    """
    Give the client a connected socket.

    aiosmtplib has one limit for the connection and the greeting, which differ tenfold.
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
    What to call ourselves in EHLO where we have no name that means us to everybody.

    Source: RFC 5321 §4.1.4: an address literal.
    """
    own = ip_address(connected.getsockname()[0].partition("%")[0])
    return f"[IPv6:{own}]" if own.version == 6 else f"[{own}]"  # noqa: PLR2004 - the version's name


async def _start_tls(client: SMTP) -> None:
    if not client.supports_extension("starttls"):
        raise NotOffered(extension="STARTTLS")
    await client.starttls()


async def _log_in(client: SMTP, relay: Relay) -> None:
    if not client.supported_auth_methods:
        raise NotOffered(extension="AUTH")
    await client.login(relay.username or "", relay.password or "")


def _hang_up(client: SMTP) -> None:
    transport = cast("asyncio.Transport | None", client.transport)
    if transport is not None:
        transport.abort()
    client.close()


def _why(phase: Phase, error: BaseException, relay: Relay) -> Released:  # noqa: PLR0911 - one line a cause
    """The verdict on a session that could not be opened, by what lies deepest in the exception."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case SMTPResponseException(code=code, message=words):
                return replies.unopened(phase, code, words, hide=relay.secrets)
            case NotOffered() if phase is Phase.AUTH:
                return replies.misconfigured(phase, reason="auth_not_offered", text="the relay offers no AUTH we know")
            case NotOffered():
                return replies.unreachable(phase, reason="starttls_not_offered", text="the relay offers no STARTTLS")
            case ssl.SSLCertVerificationError(verify_message=words):
                return replies.misconfigured(Phase.TLS, reason="certificate", text=words)
            case ssl.SSLError(reason=words):
                return replies.unreachable(Phase.TLS, reason="tls_failed", text=words or "")
            case TimeoutError():
                return replies.unreachable(phase, reason="relay_silent", text="no answer in time")
            case OSError(strerror=words) if words and phase is Phase.CONNECT:
                return replies.unreachable(phase, reason="relay_unreachable", text=words)
        cause = cause.__cause__
    return replies.unreachable(phase, reason="relay_dropped", text="the relay closed the connection")
