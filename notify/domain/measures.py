"""What a process counts that no row tells: rings, sweeps, how long things took."""

from bisect import bisect_left
from enum import StrEnum
from typing import Protocol


class Measure(StrEnum):
    """
    What is counted, and by which label.

    ``to_…`` are times since an event was received, by the upper bound of their bucket; ``smtp`` is
    how long the relay took, by phase; ``call`` counts calls of the API, by their ``Way``; ``flush``
    counts the writing itself, by the process's role.
    """

    DOORBELL_SENT = "doorbell_sent"
    DOORBELL_FAILED = "doorbell_failed"
    SWEEP = "sweep"
    SWEEP_FOUND = "sweep_found"
    SMTP = "smtp"
    TO_FAN_OUT = "to_fan_out"
    TO_FIRST_ATTEMPT = "to_first_attempt"
    TO_SENT = "to_sent"
    CALL = "call"
    FLUSH = "flush"


class Role(StrEnum):
    """What a process that counts is there for."""

    API = "api"
    WORKER = "worker"


class Way(StrEnum):
    """How a call of the API came: by itself, or through a proxy whose word about the caller is taken or is not."""

    DIRECT = "direct"
    FORWARDED = "forwarded"
    UNTRUSTED = "untrusted"


class Count(Protocol):
    """Takes note of something. Cheap, thread-safe, never raises."""

    def __call__(self, measure: Measure, label: str, seconds: float = 0.0) -> None: ...


BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
BUCKETS = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


def bucket(seconds: float) -> str:
    """The upper bound of the bucket that this time falls into, as Prometheus writes it."""
    return BUCKETS[bisect_left(BOUNDS, seconds)]


def uncounted(measure: Measure, label: str, seconds: float = 0.0) -> None:
    """Take no note of it."""
