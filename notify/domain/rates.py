"""
How fast emails may go: so many at once, and after that one by one as time passes; and over how many sessions.

Source: the generic cell rate algorithm, ITU-T I.371 Annex A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from re import compile as pattern

# Looking for work every other second must be enough to keep to the rate.
SECONDS_AT_ONCE = 2
LEAST_AT_ONCE = 2
LONGEST_SECONDS = 3600.0
MOST_PER_SECOND = 10_000.0
# What is owed has been through a clock of whole microseconds.
ROUNDING = 1e-4
STATED = pattern(r"((?:\*\.)?[^\s*@=]+)=(\d+(?:\.\d+)?)")
EXPECTED = "expected emails a second by domain, such as example.com=5 *.example.org=0.5"


@dataclass(frozen=True, slots=True)
class Rate:
    """
    One for every *each* seconds, and *burst* at once after a while of none.

    *owed* is the time after which it is as if nothing had gone.
    """

    each: float
    burst: int

    @classmethod
    def a_second(cls, number: float) -> "Rate":
        """So many a second; at once as many as two seconds make up for."""
        return cls(each=1 / number, burst=max(LEAST_AT_ONCE, floor(number * SECONDS_AT_ONCE)))

    def free(self, owed: float) -> int:
        """How many may go now."""
        return max(0, floor(self.burst - owed / self.each + ROUNDING))

    def wait(self, owed: float) -> float:
        """Seconds until one may go; 0 when it may now."""
        return max(0.0, owed + self.each - self.burst * self.each)

    def spent(self, owed: float, number: int) -> float:
        """What is owed when so many have gone besides; fewer than none: they were not gone after all."""
        return max(0.0, owed + number * self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """
    What is known of everything that goes at one rate, in seconds from now.

    ``queued``: until then the turns are given away to emails that were put off.
    """

    owed: float = 0.0
    queued: float = 0.0


def turns(bucket: Bucket, rate: Rate, *, urgent: Sequence[bool]) -> tuple[list[float], Bucket]:
    """
    For how many seconds each of these emails is put off, in order, 0: it goes now; and the bucket after that.

    An email that is put off gets a turn of its own behind the earlier ones, so that none comes back in vain; an
    urgent one gets the next turn. No turn is more than an hour away: whatever finds it taken gets another, and
    turns that were given at an earlier rate are soon over.
    """
    going = min(len(urgent), rate.free(bucket.owed))
    owed = rate.spent(bucket.owed, going)
    first = rate.wait(owed)
    soon, last = first, max(bucket.queued, first - rate.each)
    delays = [0.0] * going
    for is_urgent in urgent[going:]:
        if is_urgent:
            delays.append(min(soon, LONGEST_SECONDS))
            soon += rate.each
        else:
            last = min(last + rate.each, LONGEST_SECONDS)
            delays.append(last)
    return delays, replace(bucket, owed=owed, queued=last)


def rate_of(rates: Mapping[str, Rate], domain: str) -> tuple[str, Rate] | None:
    """
    The first rate that the domain falls under, with the name under which all such domains share it; None: no rate.

    Args:
        rates: By the name of a domain, or by ``*.`` and the end of one; in the order in which they were stated.
    """
    return next((one for one in rates.items() if _falls_under(domain, one[0])), None)


def parse_rates(text: str) -> Mapping[str, Rate]:
    """
    The rates of recipients' domains that this text states, for ``rate_of``.

    Raises:
        ValueError: Naming what makes no sense, and what was expected.
    """
    found: dict[str, Rate] = {}
    for word in text.split():
        match = STATED.fullmatch(word)
        number = float(match[2]) if match else 0.0
        if match is None or not 0 < number <= MOST_PER_SECOND or match[1].lower() in found:
            msg = f"{word} makes no sense or comes twice; {EXPECTED}"
            raise ValueError(msg)
        found[match[1].lower()] = Rate.a_second(number)
    return found


def _falls_under(domain: str, name: str) -> bool:
    return domain.endswith(name[1:]) if name.startswith("*") else domain == name


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """
    A worker process, how many sessions it has a use for, and how many it has.

    ``is_idle``: its sessions wait for emails that may come.
    """

    wanted: int
    sessions: int
    is_idle: bool = False


def share(cap: int, *, mine: Claimant, others: Sequence[Claimant]) -> int:
    """
    How many of *cap* sessions a process may have from now on; fewer than it has: it has to give up the rest.

    The first comer has what it wants. As soon as another has less than an equal share and wants more, nobody keeps
    more than an equal share, and whoever has nothing to send keeps none. All of them never have more than *cap*.
    """
    equal = max(1, cap // (len(others) + 1))
    free = max(0, cap - sum(one.sessions for one in others))
    if not any(one.sessions < min(one.wanted, equal) for one in others):
        return min(mine.wanted, free)
    return 0 if mine.is_idle else min(mine.wanted, free, equal)
