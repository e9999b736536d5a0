"""A look at a relay: no email is risked, and nobody waits for minutes."""

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
class Examined:
    """
    ``refused``: why there was no session, None if there was; ``certificate_ends`` None: it was not over TLS.

    ``largest`` is how many bytes the relay lets a message have, None: it states no limit.
    """

    refused: Released | None = None
    certificate_ends: datetime | None = None
    largest: int | None = None


async def examine(relay: Relay, *, tls: ssl.SSLContext | None = None, patience: timedelta = PATIENCE) -> Examined:
    """
    Connect, greet, start TLS, log in and ask for nothing (NOOP), as a worker does before it claims.

    Args:
        tls: Checks the relay's certificate; None: as its URL says.
        patience: For each answer; workers have more.
    """
    try:
        connector = Connector(relay, timeouts=Timeouts.all(patience), tls=tls)
    except InvalidSettings as error:
        return Examined(refused=replies.misconfigured(Phase.CONNECT, reason="url_makes_no_sense", text=str(error)))
    session = await connector.connect()
    if isinstance(session, Released):
        return Examined(refused=session)
    try:
        return Examined(
            refused=await session.noop(), certificate_ends=session.certificate_ends, largest=session.largest
        )
    finally:
        await session.quit()
