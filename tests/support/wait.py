"""Waiting for a condition, with a limit: the only way in which a test lets time pass."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

POLL_SECONDS = 0.01

T = TypeVar("T")


def until(condition: Callable[[], T], *, seconds: float = 30, every_seconds: float = POLL_SECONDS) -> T:
    """
    The first truthy answer of *condition*.

    Raises:
        AssertionError: There was none in time; the message has the last answer.
    """
    end = monotonic() + seconds
    while not (answer := condition()):
        assert monotonic() < end, f"waited {seconds} s in vain, the last answer was {answer!r}"
        sleep(every_seconds)
    return answer
