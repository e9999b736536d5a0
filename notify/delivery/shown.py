"""A letter as it would be written today, for who asks what somebody gets. Nothing is claimed, and nothing changes."""

from sqlalchemy import Connection

from notify.delivery.deliver import as_letter, dossiers, together
from notify.domain.errors import NotifyError
from notify.domain.jobs import Letter
from notify.store import events, outbox


class NothingToShow(NotifyError):
    """There is no letter to show."""


def letter(connection: Connection, job_id: int) -> Letter:
    """
    The letter that this row is on, whole, whether or not it would still go today.

    Raises:
        NothingToShow: The row was born skipped or is gone, or the words of its event were deleted.
    """
    rows = outbox.aboard(connection, job_id)
    if not rows:
        raise NothingToShow(id=job_id, reason="the person was never to get one")
    if events.any_emptied(connection, [one.event_id for one in rows]):
        raise NothingToShow(id=job_id, reason="the words of its event were deleted")
    written = [as_letter(one, to_email=one.job.to_email) for one in dossiers(connection, rows)]
    return together(written) if len(written) > 1 else written[0]
