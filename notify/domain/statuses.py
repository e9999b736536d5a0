"""Where events and jobs stand, and what became of an attempt."""

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


class Verdict(StrEnum):
    """
    What became of an attempt, for people and statistics.

    ``late_success`` is an email that was sent although its lease was lost or its job had ended, ``duplicate_sent`` one
    that was sent twice, ``lease_lost`` a refusal that came too late to be written.
    """

    SENT = "sent"
    LATE_SUCCESS = "late_success"
    DUPLICATE_SENT = "duplicate_sent"
    RETRY = "retry"
    DEAD = "dead"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    RELEASED = "released"
    LEASE_LOST = "lease_lost"


# Counted besides: the relay may have taken an email that is tried again; a worker vanished with one.
AMBIGUOUS = "ambiguous"
LAPSE = "lapse"
