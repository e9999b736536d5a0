"""
First now, then together: which letters about a change list go at once, and which wait to leave as one.

A person's first letter about a change list goes at once. Those that come within the window after it
wait until the window ends; the first of them is the *leader*, the others go with its letter, so that
they are one claim, one lease and one message. Once somebody has claimed the leader nobody joins it any
more: what a Message-ID tells of is the same in every copy.

Decided: the window begins when a letter leaves, not when it was last added to; who is told of
    something every minute has a letter every window.
Decided: what is held until an instant (``schedule``) is a group of its own, whatever it is about: the
    first of it leads the others, and all leave then.
Rejected: putting together at the claim what is due; two workers would each send a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

MOST_TOGETHER = 100
MOST_HELD = 1_000


class Group(NamedTuple):
    """
    Letters that leave together: a person's about one change list, or all that are held until an instant.

    ``until`` None: about the change list. Else ``cl_link`` is empty.
    """

    username: str
    cl_link: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Leader:
    """A letter that others may join. ``id`` None: it is the one at ``index`` of those to be placed."""

    id: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How the letters of a group follow each other.

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
    most_held: int
    standings: dict[Group, Standing] = field(default_factory=dict)

    def seat(self, index: int, group: Group, window: timedelta) -> Place:
        standing = self.standings.get(group, Standing())
        if group.until:
            return self._held(index, group, standing, group.until)
        if standing.leader and standing.size < self.most:
            self.standings[group] = Standing(last_at=standing.last_at, leader=standing.leader, size=standing.size + 1)
            return Place(leaves_at=standing.last_at, leader=standing.leader)
        if standing.last_at is None or standing.last_at + window <= self.now:
            self.standings[group] = Standing(last_at=self.now)
            return Place()
        leaves_at = standing.last_at + window
        self.standings[group] = Standing(last_at=leaves_at, leader=Leader(index=index), size=1)
        return Place(leaves_at=leaves_at, leads=True)

    def _held(self, index: int, group: Group, standing: Standing, until: datetime) -> Place:
        joins = standing.leader is not None and standing.size < self.most_held
        leader, size = (standing.leader, standing.size) if joins else (Leader(index=index), 0)
        self.standings[group] = Standing(last_at=until, leader=leader, size=size + 1)
        return Place(leaves_at=until, leader=leader if joins else None, leads=not joins)


def arrange(
    letters: Sequence[tuple[Group, timedelta]],
    standings: Mapping[Group, Standing],
    *,
    now: datetime,
    most: int = MOST_TOGETHER,
    most_held: int = MOST_HELD,
) -> Arrangement:
    """
    Where each of these letters goes, in the order in which they were written.

    Args:
        letters: The group of each, and the window of its kind of event, which is positive unless it is held.
        standings: How things stand with these groups; a missing one has had no letter yet.
        most: So many events a letter tells of at most; the next begins another, a window later.
        most_held: The same of what was held; the next begins another, at the same instant.
    """
    table = _Table(now, most, most_held, dict(standings))
    places = [table.seat(index, group, window) for index, (group, window) in enumerate(letters)]
    return Arrangement(places, table.standings)
