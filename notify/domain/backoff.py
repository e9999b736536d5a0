"""How long to wait after a refusal."""

from datetime import timedelta
from random import Random

BASE = timedelta(seconds=60)
CAP = timedelta(hours=4)


def next_delay(
    failures: int,
    *,
    rng: Random,
    base: timedelta = BASE,
    cap: timedelta = CAP,
    floor: timedelta = timedelta(0),
) -> timedelta:
    """
    How long to wait after this many temporary refusals.

    Doubles from *base* and never exceeds *cap*; the upper half is random, so that emails refused together are not
    retried together.

    Args:
        failures: How many refusals so far; the first is 1.
        floor: Minimum delay (greylisting).

    Source: RFC 5321 §4.5.4.1 asks for a retry strategy that backs off.
    """
    doublings = min(failures - 1, 32)
    ceiling = min(cap, base * (1 << doublings))
    return max(floor, ceiling / 2 + ceiling / 2 * rng.random())
