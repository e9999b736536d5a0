"""
First at once, then bundled: which notifications about a topic have an email of their own, and which share one.

A person's first email about a topic leaves at once. What comes within the window after it waits until the window
ends: the first such notification opens an email, and the others join it, so that they are one claim, one lease and
one message. Once it has been claimed, nothing joins it any more: every copy of a Message-ID tells of the
same events.

Decided: the window begins when an email leaves, not when it was last added to; who is told of
    something every minute has an email every window.
Decided: what is deferred until an instant (``schedule``) is a bundle of its own, whatever it is about: the
    first opens the email, the others join it, and it leaves then.
Rejected: bundling at the claim what is due; two workers would each send some of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

MOST_BUNDLED = 100
MOST_DEFERRED = 1_000

# An email that may be joined: the id of its job, or its Message-ID where the job is not written yet.
OpenEmail = int | str


class BundleKey(NamedTuple):
    """
    What shares an email: a person's notifications about one topic, or all that are deferred until an instant.

    ``until`` None: about the topic. Else ``topic`` is empty.
    """

    username: str
    topic: str = ""
    until: datetime | None = None


class Bundled(NamedTuple):
    """
    A notification that may share an email.

    Args:
        message_id: Of the email that it gets if it shares none.
        window: That of its type, which is positive unless the notification is deferred.
    """

    key: BundleKey
    message_id: str
    window: timedelta


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


class Placement(NamedTuple):
    """
    When one notification leaves, and in which email.

    Args:
        leaves_at: None: at once.
        joins: The email that tells of it; None: it has one of its own.
    """

    leaves_at: datetime | None = None
    joins: OpenEmail | None = None


def place(
    notifications: Sequence[Bundled], states: Mapping[BundleKey, BundleState], *, now: datetime
) -> tuple[list[Placement], Mapping[BundleKey, BundleState]]:
    """
    A placement for each notification, in the order in which they were written, and the states afterwards.

    Once an email tells of as many events as one may, the next event opens another: a window later, or, deferred, at
    the same instant.

    Args:
        states: Those of these bundles; a missing one has had no email yet.
    """
    after = dict(states)
    placements = []
    for one in notifications:
        placement, after[one.key] = _place(one, after.get(one.key, BundleState()), now=now)
        placements.append(placement)
    return placements, after


def _place(one: Bundled, state: BundleState, *, now: datetime) -> tuple[Placement, BundleState]:
    until = one.key.until
    if state.email is not None and state.size < (MOST_DEFERRED if until else MOST_BUNDLED):
        return Placement(until or state.last_at, joins=state.email), replace(state, size=state.size + 1)
    if until:
        leaves_at = until
    elif state.last_at is None or state.last_at + one.window <= now:
        return Placement(), BundleState(last_at=now)
    else:
        leaves_at = state.last_at + one.window
    return Placement(leaves_at), BundleState(last_at=leaves_at, email=one.message_id, size=1)
