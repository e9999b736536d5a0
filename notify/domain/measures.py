"""What each process counts itself, because no row records it: doorbells, sweeps, durations."""

from bisect import bisect_left
from enum import StrEnum
from typing import Protocol


class Measure(StrEnum):
    """
    What is counted.

    Labels: ``to_…`` are durations since an event was received, labelled by bucket; ``to_verdict`` is that of a queue's
    head, labelled by ``verdict_label``; ``smtp`` is the relay's response time, by phase; ``call`` counts API calls, by
    ``CallOrigin``; ``flush`` counts the writes of these counts, by role.
    """

    DOORBELL_SENT = "doorbell_sent"
    DOORBELL_FAILED = "doorbell_failed"
    SWEEP = "sweep"
    SWEEP_FOUND = "sweep_found"
    SMTP = "smtp"
    TO_FAN_OUT = "to_fan_out"
    TO_FIRST_ATTEMPT = "to_first_attempt"
    TO_SENT = "to_sent"
    TO_VERDICT = "to_verdict"
    CALL = "call"
    FLUSH = "flush"


class Role(StrEnum):
    """The kind of process that counts."""

    API = "api"
    WORKER = "worker"


class CallOrigin(StrEnum):
    """How an API call arrived: directly, or through a proxy that is trusted to name the caller or not."""

    DIRECT = "direct"
    FORWARDED = "forwarded"
    UNTRUSTED = "untrusted"


class Count(Protocol):
    """Counts something. Cheap, thread-safe, never raises."""

    def __call__(self, measure: Measure, label: str, seconds: float = 0.0) -> None: ...


BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
BUCKETS = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


def bucket(seconds: float) -> str:
    """The upper bound of the duration's bucket, as Prometheus writes it."""
    return BUCKETS[bisect_left(BOUNDS, seconds)]


def verdict_label(bound: str, *, queue: str, outcome: str) -> str:
    """The label of a verdict's duration. *bound* is its bucket."""
    return f"{bound} {outcome} {queue}"


def no_count(measure: Measure, label: str, seconds: float = 0.0) -> None:
    """Count nothing."""
