"""Tests the connection to a relay without sending an email, with short timeouts."""

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.connect import Connector
from notify.channels.email.smtp.limits import Timeouts
from notify.channels.email.smtp.relay import Relay
from notify.domain.errors import InvalidSettings
from notify.domain.outcomes import Phase, Released

PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCheck:
    """
    The result of a connection test.

    ``refused``: why there was no session; None: there was. ``certificate_ends`` is None without TLS. ``largest`` is the
    relay's size limit in bytes; None: none announced.
    """

    refused: Released | None = None
    certificate_ends: datetime | None = None
    largest: int | None = None


async def check_relay(relay: Relay, *, tls: ssl.SSLContext | None = None, patience: timedelta = PATIENCE) -> RelayCheck:
    """
    Connect, start TLS, log in and send NOOP, as a worker does before it claims.

    Args:
        tls: For checking the relay's certificate; None: as its URL says.
        patience: Timeout for each reply; shorter than a worker's.
    """
    try:
        connector = Connector(relay, timeouts=Timeouts.all(patience), tls=tls)
    except InvalidSettings as error:
        return RelayCheck(refused=replies.misconfigured(Phase.CONNECT, reason="url_makes_no_sense", text=str(error)))
    session = await connector.connect()
    if isinstance(session, Released):
        return RelayCheck(refused=session)
    try:
        return RelayCheck(
            refused=await session.noop(), certificate_ends=session.certificate_ends, largest=session.largest
        )
    finally:
        await session.quit()
