"""How long finished rows are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from notify.domain.outcomes import DeliveryStatus, EventStatus, JobStatus
from notify.domain.statuses import TargetStatus
from notify.domain.webhooks import CallStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPeriods:
    """
    How long finished rows are kept.

    ``sent``: for sent, skipped and withdrawn emails, for fanned-out and withdrawn events, and for webhook calls, whose
    bodies are made from them. ``dead``: for all other emails, events and calls, and for counts. ``bodies``: for the
    text of events, once no email about them waits; None: as long as the event. ``deliveries``: for webhook deliveries
    that are done or ignored. ``statuses``: for those that are shown or skipped. ``requests``: for requests that ended,
    with their builds and facts.
    """

    sent: timedelta = timedelta(days=14)
    dead: timedelta = timedelta(days=90)
    bodies: timedelta | None = None
    deliveries: timedelta = timedelta(days=14)
    statuses: timedelta = timedelta(days=14)
    requests: timedelta = timedelta(days=90)

    @property
    def emails(self) -> Mapping[str, timedelta]:
        """By the final status of a job."""
        unsent: dict[str, timedelta] = dict.fromkeys(
            (JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED), self.dead
        )
        settled: dict[str, timedelta] = dict.fromkeys(
            (JobStatus.SENT, JobStatus.SKIPPED, JobStatus.WITHDRAWN), self.sent
        )
        return {**settled, **unsent}

    @property
    def events(self) -> Mapping[str, timedelta]:
        """By the final status of an event."""
        return {EventStatus.DONE: self.sent, EventStatus.WITHDRAWN: self.sent, EventStatus.DEAD: self.dead}

    @property
    def webhooks(self) -> Mapping[str, timedelta]:
        """By the final status of a webhook delivery."""
        done: dict[str, timedelta] = dict.fromkeys((DeliveryStatus.DONE, DeliveryStatus.IGNORED), self.deliveries)
        return {**done, DeliveryStatus.DEAD: self.dead}

    @property
    def calls(self) -> Mapping[str, timedelta]:
        """By the final status of a webhook call."""
        return {CallStatus.DELIVERED: self.sent, CallStatus.SKIPPED: self.sent, CallStatus.DEAD: self.dead}

    @property
    def commit_statuses(self) -> Mapping[str, timedelta]:
        """By the final status of a target."""
        shown: dict[str, timedelta] = dict.fromkeys((TargetStatus.APPLIED, TargetStatus.SKIPPED), self.statuses)
        return {**shown, TargetStatus.DEAD: self.dead, TargetStatus.CANCELLED: self.dead}
