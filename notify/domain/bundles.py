"""
First at once, then bundled: which notifications about a topic have an email of their own, and which share one.

A person's first email about a topic leaves at once. What comes within the window after it waits until the window
ends: the first such notification opens an email, and the others join it, so that they are one claim, one lease and
one message. Once somebody has claimed that email nobody joins it any more: what a Message-ID tells of is the same in
every copy.

Decided: the window begins when an email leaves, not when it was last added to; who is told of
    something every minute has an email every window.
Decided: what is deferred until an instant (``schedule``) is a bundle of its own, whatever it is about: the
    first opens the email, the others join it, and it leaves then.
Rejected: bundling at the claim what is due; two workers would each send a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

MOST_BUNDLED = 100
MOST_DEFERRED = 1_000


class BundleKey(NamedTuple):
    """
    What shares an email: a person's notifications about one topic, or all that are deferred until an instant.

    ``until`` None: about the topic. Else ``topic`` is empty.
    """

    username: str
    topic: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenEmail:
    """An email that may be joined. ``job_id`` None: it is opened by the one at ``index`` of those to be placed."""

    job_id: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleState:
    """
    How the emails of a bundle follow each other.

    Args:
        last_at: When the last email left, or will leave; None: there was none.
        email: The waiting email that others may join; None: there is none.
        size: How many events that email tells of already.
    """

    last_at: datetime | None = None
    email: OpenEmail | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """
    When one notification leaves, and with whom.

    Args:
        leaves_at: None: at once.
        joins: The email that tells of it; None: it has one of its own.
        opens: Whether others may join its own.
    """

    leaves_at: datetime | None = None
    joins: OpenEmail | None = None
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Placements:
    """A placement for each notification, in their order, and the state of each bundle afterwards."""

    each: Sequence[Placement]
    states: Mapping[BundleKey, BundleState]


@dataclass(slots=True)
class _Placing:
    now: datetime
    most: int
    most_deferred: int
    states: dict[BundleKey, BundleState] = field(default_factory=dict)

    def place(self, index: int, key: BundleKey, window: timedelta) -> Placement:
        state = self.states.get(key, BundleState())
        if key.until:
            return self._deferred(index, key, state, key.until)
        if state.email and state.size < self.most:
            self.states[key] = BundleState(last_at=state.last_at, email=state.email, size=state.size + 1)
            return Placement(leaves_at=state.last_at, joins=state.email)
        if state.last_at is None or state.last_at + window <= self.now:
            self.states[key] = BundleState(last_at=self.now)
            return Placement()
        leaves_at = state.last_at + window
        self.states[key] = BundleState(last_at=leaves_at, email=OpenEmail(index=index), size=1)
        return Placement(leaves_at=leaves_at, opens=True)

    def _deferred(self, index: int, key: BundleKey, state: BundleState, until: datetime) -> Placement:
        joins = state.email if state.size < self.most_deferred else None
        email, size = (joins, state.size) if joins else (OpenEmail(index=index), 0)
        self.states[key] = BundleState(last_at=until, email=email, size=size + 1)
        return Placement(leaves_at=until, joins=joins, opens=joins is None)


def place(
    notifications: Sequence[tuple[BundleKey, timedelta]],
    states: Mapping[BundleKey, BundleState],
    *,
    now: datetime,
    most: int = MOST_BUNDLED,
    most_deferred: int = MOST_DEFERRED,
) -> Placements:
    """
    Where each of these goes, in the order in which they were written.

    Args:
        notifications: The bundle of each, and the window of its type, which is positive unless it is deferred.
        states: Those of these bundles; a missing one has had no email yet.
        most: So many events an email tells of at most; the next opens another, a window later.
        most_deferred: The same of what was deferred; the next opens another, at the same instant.
    """
    placing = _Placing(now, most, most_deferred, dict(states))
    each = [placing.place(index, key, window) for index, (key, window) in enumerate(notifications)]
    return Placements(each, placing.states)
