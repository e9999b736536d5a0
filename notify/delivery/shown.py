"""An email as it would be written today, for who asks what somebody gets. Nothing is claimed, and nothing changes."""

from sqlalchemy import Connection

from notify.delivery.recheck import whole
from notify.domain.errors import NotifyError
from notify.domain.jobs import EmailFacts
from notify.store.outbox import events, facts


class NothingToShow(NotifyError):
    """There is no email to show."""


def email(connection: Connection, job_id: int) -> EmailFacts:
    """
    The email of this job, with all that it tells of, whether or not it would still go today.

    Raises:
        NothingToShow: The job is gone, or the words of an event of its were deleted.
    """
    job = facts.of_job(connection, job_id)
    if job is None:
        raise NothingToShow(id=job_id, reason="there is no such job")
    if events.any_emptied(connection, [one.event.id for one in job.notifications]):
        raise NothingToShow(id=job_id, reason="the words of its event were deleted")
    return whole(job)
