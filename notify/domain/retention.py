"""How long finished rows are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from notify.domain.outcomes import EventStatus, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    How long rows stay after their end.

    ``sent`` is for emails that went as they should and for events that were fanned out, ``dead`` for
    emails and events that ended otherwise, and for counts. ``bodies`` is for the words that an event
    carries, once no email about it waits; None: as long as the event.
    """

    sent: timedelta = timedelta(days=14)
    dead: timedelta = timedelta(days=90)
    bodies: timedelta | None = None

    @property
    def emails(self) -> Mapping[str, timedelta]:
        """By the final status of a job."""
        unsent: dict[str, timedelta] = dict.fromkeys(
            (JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED), self.dead
        )
        return {JobStatus.SENT: self.sent, JobStatus.SKIPPED: self.sent, **unsent}

    @property
    def events(self) -> Mapping[str, timedelta]:
        """By the final status of an event."""
        return {EventStatus.DONE: self.sent, EventStatus.DEAD: self.dead}
