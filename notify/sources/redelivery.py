"""Asks a forge for the webhook deliveries that did not arrive here."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from notify.domain.forge_answers import ForgeFault, Refused
from notify.work.forges import Forge, Forges

# Source: GitHub keeps deliveries of an app for three days, and redelivers no older ones.
KEPT_BY_FORGE = timedelta(days=3)
LONGEST_RUN = timedelta(minutes=5)

log = structlog.get_logger(__name__)


def redeliver(forges: Forges, forge: Forge, *, at_most: timedelta = LONGEST_RUN) -> int:
    """
    Ask for every delivery of the last three days that has not arrived. Returns how many were asked for.

    Safe to repeat: a delivery that is known here changes nothing. A delivery that the forge will not send again does
    not stop the others. Gitea lists none.

    Args:
        at_most: How long this may take; the next run continues.

    Raises:
        ForgeNotAsked: The forge must not be called now.
        ForgeFault: A call failed; deliveries that were asked for before it are on their way.
    """
    began, asked = monotonic(), 0
    with forges.asking(forge) as reader:
        for delivery in reader.failed_deliveries(since=datetime.now(UTC) - KEPT_BY_FORGE):
            if monotonic() - began > at_most.total_seconds():
                break
            try:
                reader.redeliver(delivery.id)
            except ForgeFault as fault:
                if not isinstance(fault.meaning, Refused):
                    raise
                log.warning("redelivery.refused", forge=forge.name, delivery=delivery.guid)
            else:
                asked += 1
    return asked
