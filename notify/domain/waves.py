"""Whether most emails of the last minutes died of one and the same thing, which is then seldom about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=10)
# Four may be chance, such as one event for a team that has left; of a hundred there would be little left to save.
LEAST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """Emails that died of one reason; ``first_at`` is when the first of them did."""

    reason: str
    count: int
    first_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The newest emails that ended within ``WINDOW``: how many a relay took, and what the others died of."""

    sent: int
    deaths: Sequence[Deaths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What most emails died of; ``ended`` is how many were sent or died."""

    deaths: Deaths
    ended: int

    @property
    def in_words(self) -> str:
        """What dies of what, since when, for people."""
        minutes, deaths = WINDOW // timedelta(minutes=1), self.deaths
        return (
            f"of the {self.ended:,} newest emails that ended within {minutes} minutes {deaths.count:,} died of"
            f" {deaths.reason}, the first at {deaths.first_at:%Y-%m-%d %H:%M:%S} UTC"
        )

    @property
    def listing(self) -> str:
        """The command that lists them."""
        return f"notify jobs list --status dead --reason {self.deaths.reason}"


def wave(ended: Ended) -> Wave | None:
    """The reason that at least ``LEAST`` emails died of, and more than half of all; None where there is none."""
    total = ended.sent + sum(one.count for one in ended.deaths)
    worst = max(ended.deaths, key=lambda one: one.count, default=None)
    if worst is None or worst.count < LEAST or 2 * worst.count <= total:
        return None
    return Wave(deaths=worst, ended=total)
