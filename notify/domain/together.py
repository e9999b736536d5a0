"""
First now, then together: which letters about a change list go at once, and which wait to leave as one.

A person's first letter about a change list goes at once. Those that come within the window after it
wait until the window ends; the first of them is the *leader*, the others go with its letter, so that
they are one claim, one lease and one message. Once somebody has claimed the leader nobody joins it any
more: what a Message-ID tells of is the same in every copy.

Decided: the window begins when a letter leaves, not when it was last added to; who is told of
    something every minute has a letter every window.
Rejected: putting together at the claim what is due; two workers would each send a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MOST_TOGETHER = 100

Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Leader:
    """A letter that others may join. ``id`` None: it is the one at ``index`` of those to be placed."""

    id: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How a person's letters about a change list follow each other.

    Args:
        last_at: When the last letter left, or will leave; None: there was none.
        leader: The waiting letter that others may join; None: there is none.
        size: How many events that letter tells of already.
    """

    last_at: datetime | None = None
    leader: Leader | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    When one letter leaves, and with whom.

    Args:
        leaves_at: None: at once.
        leader: The letter that it leaves with; None: it has one of its own.
        leads: Whether others may join it.
    """

    leaves_at: datetime | None = None
    leader: Leader | None = None
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A place for each letter, in their order, and how things stand with each group afterwards."""

    places: Sequence[Place]
    standings: Mapping[Group, Standing]


@dataclass(slots=True)
class _Table:
    now: datetime
    most: int
    standings: dict[Group, Standing] = field(default_factory=dict)

    def seat(self, index: int, group: Group, window: timedelta) -> Place:
        standing = self.standings.get(group, Standing())
        if standing.leader and standing.size < self.most:
            self.standings[group] = Standing(last_at=standing.last_at, leader=standing.leader, size=standing.size + 1)
            return Place(leaves_at=standing.last_at, leader=standing.leader)
        if standing.last_at is None or standing.last_at + window <= self.now:
            self.standings[group] = Standing(last_at=self.now)
            return Place()
        leaves_at = standing.last_at + window
        self.standings[group] = Standing(last_at=leaves_at, leader=Leader(index=index), size=1)
        return Place(leaves_at=leaves_at, leads=True)


def arrange(
    letters: Sequence[tuple[Group, timedelta]],
    standings: Mapping[Group, Standing],
    *,
    now: datetime,
    most: int = MOST_TOGETHER,
) -> Arrangement:
    """
    Where each of these letters goes, in the order in which they were written.

    Args:
        letters: To whom about what, and the window of its kind of event, which is positive.
        standings: How things stand with these groups; a missing one has had no letter yet.
        most: So many events a letter tells of at most; the next begins another, a window later.
    """
    table = _Table(now, most, dict(standings))
    places = [table.seat(index, group, window) for index, (group, window) in enumerate(letters)]
    return Arrangement(places, table.standings)
