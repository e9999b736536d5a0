"""Detects that most recent emails died for the same reason, which is then rarely their own fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=10)
# Four may be a coincidence, such as an event for a team that has left; a hundred would be too late.
MIN_DEATHS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """Emails that died for one reason, the first of them at ``first_at``."""

    reason: str
    count: int
    first_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentOutcomes:
    """Emails finished within ``WINDOW``: how many were sent, and why the others died."""

    sent: int
    deaths: Sequence[Deaths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The reason most emails died for; ``ended`` is how many were sent or died."""

    deaths: Deaths
    ended: int

    @property
    def in_words(self) -> str:
        """A sentence for people."""
        minutes, deaths = WINDOW // timedelta(minutes=1), self.deaths
        return (
            f"{deaths.count:,} of the {self.ended:,} emails finished in the last {minutes} minutes died of"
            f" {deaths.reason}, the first at {deaths.first_at:%Y-%m-%d %H:%M:%S} UTC"
        )

    @property
    def listing(self) -> str:
        """The command that lists them."""
        return f"notify jobs list --status dead --reason {self.deaths.reason}"


def wave(ended: RecentOutcomes) -> Wave | None:
    """The reason for which more than half, and at least ``MIN_DEATHS``, died; None: there is none."""
    total = ended.sent + sum(one.count for one in ended.deaths)
    worst = max(ended.deaths, key=lambda one: one.count, default=None)
    if worst is None or worst.count < MIN_DEATHS or 2 * worst.count <= total:
        return None
    return Wave(deaths=worst, ended=total)
