"""How long finished rows are kept, and how upkeep gives way to emails."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from notify.domain.outcomes import EventStatus, JobStatus

# Beside emails that are due, upkeep works a tenth of the time; the whole machine may be one core.
RESTS_PER_BATCH = 9
SLOW_FACTOR = 3
SLOW_SECONDS = 0.005
LONG_REST_SECONDS = 2.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How long it took to ask for due emails, as every claim does, and whether there were any."""

    seconds: float
    due: bool


def rest(worked_seconds: float, *, now: Look, usual_seconds: float) -> float:
    """
    For how many seconds upkeep rests after a batch.

    Not at all while no email is due; nine times as long as it worked while some are; and longer
    when asking for them takes several times as long as before upkeep began.
    """
    if now.seconds > max(SLOW_FACTOR * usual_seconds, usual_seconds + SLOW_SECONDS):
        return max(LONG_REST_SECONDS, RESTS_PER_BATCH * worked_seconds)
    return RESTS_PER_BATCH * worked_seconds if now.due else 0.0
