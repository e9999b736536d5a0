"""
Rate limits (a burst, then one email per interval), and how processes share a limited number of sessions.

Source: the generic cell rate algorithm, ITU-T I.371 Annex A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from re import compile as pattern

# A worker that looks for work every other second must reach the full rate.
BURST_SECONDS = 2
MIN_BURST = 2
MAX_DELAY_SECONDS = 3600.0
MAX_PER_SECOND = 10_000.0
# The stored backlog is rounded to microseconds.
ROUNDING = 1e-4
STATED = pattern(r"((?:\*\.)?[^\s*@=]+)=(\d+(?:\.\d+)?)")
EXPECTED = "expected emails per second by domain, such as example.com=5 *.example.org=0.5"


@dataclass(frozen=True, slots=True)
class Rate:
    """
    One email every *each* seconds; *burst* at once after a pause.

    *owed*, which the methods take, is how many seconds it takes until the full burst is available again.
    """

    each: float
    burst: int

    @classmethod
    def per_second(cls, number: float) -> "Rate":
        """So many per second, with a burst of two seconds' worth."""
        return cls(each=1 / number, burst=max(MIN_BURST, floor(number * BURST_SECONDS)))

    def free(self, owed: float) -> int:
        """How many may be sent now."""
        return max(0, floor(self.burst - owed / self.each + ROUNDING))

    def wait(self, owed: float) -> float:
        """Seconds until one may be sent; 0: now."""
        return max(0.0, owed + self.each - self.burst * self.each)

    def spent(self, owed: float, number: int) -> float:
        """What is owed after sending this many more. A negative number returns unused ones."""
        return max(0.0, owed + number * self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """
    The state of one rate limit, in seconds from now.

    ``queued``: all sending slots until then are reserved for delayed emails.
    """

    owed: float = 0.0
    queued: float = 0.0


def assign_delays(bucket: Bucket, rate: Rate, *, urgent: Sequence[bool]) -> tuple[list[float], Bucket]:
    """
    How many seconds to delay each of these emails, in order (0: send now), and the new bucket.

    Each delayed email gets its own slot after the earlier ones, so that none is claimed in vain; an urgent one gets
    the next slot. Slots are at most an hour away: an email that finds its slot taken gets another, and slots assigned
    under an earlier rate soon expire.
    """
    going = min(len(urgent), rate.free(bucket.owed))
    owed = rate.spent(bucket.owed, going)
    first = rate.wait(owed)
    soon, last = first, max(bucket.queued, first - rate.each)
    delays = [0.0] * going
    for is_urgent in urgent[going:]:
        if is_urgent:
            delays.append(min(soon, MAX_DELAY_SECONDS))
            soon += rate.each
        else:
            last = min(last + rate.each, MAX_DELAY_SECONDS)
            delays.append(last)
    return delays, replace(bucket, owed=owed, queued=last)


def rate_of(rates: Mapping[str, Rate], domain: str) -> tuple[str, Rate] | None:
    """
    The first rate that matches the domain, with its key, whose domains share the rate; None: no limit.

    Args:
        rates: By domain, or by ``*.`` and a suffix; in the configured order.
    """
    return next((one for one in rates.items() if _matches(domain, one[0])), None)


def parse_rates(text: str) -> Mapping[str, Rate]:
    """
    The rates of recipients' domains in this text, for ``rate_of``.

    Raises:
        ValueError: Names the invalid word and what was expected.
    """
    found: dict[str, Rate] = {}
    for word in text.split():
        match = STATED.fullmatch(word)
        number = float(match[2]) if match else 0.0
        if match is None or not 0 < number <= MAX_PER_SECOND or match[1].lower() in found:
            msg = f"{word} is invalid or repeated; {EXPECTED}"
            raise ValueError(msg)
        found[match[1].lower()] = Rate.per_second(number)
    return found


def _matches(domain: str, name: str) -> bool:
    return domain.endswith(name[1:]) if name.startswith("*") else domain == name


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUsage:
    """How many sessions a worker process wants and has. ``is_idle``: it has nothing to send."""

    wanted: int
    sessions: int
    is_idle: bool = False


def allowed_sessions(cap: int, *, mine: SessionUsage, others: Sequence[SessionUsage]) -> int:
    """
    How many of *cap* sessions a process may have from now on; it must close any above that.

    A process gets what it wants while there is room. Once another has less than an equal share and wants more, nobody
    keeps more than an equal share, and idle processes keep none. Together they never exceed *cap*.
    """
    equal = max(1, cap // (len(others) + 1))
    free = max(0, cap - sum(one.sessions for one in others))
    if not any(one.sessions < min(one.wanted, equal) for one in others):
        return min(mine.wanted, free)
    return 0 if mine.is_idle else min(mine.wanted, free, equal)
