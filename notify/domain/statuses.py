"""Where events and jobs stand."""

from enum import StrEnum


class EventStatus(StrEnum):
    """``working`` is read from the event's work item."""

    PENDING = "pending"
    WORKING = "working"
    DONE = "done"
    DEAD = "dead"


class JobStatus(StrEnum):
    """``sending`` is read from the job's work item."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
