"""
Bundling: which notifications about a topic get their own email, and which share one.

A person's first email about a topic is sent immediately. Notifications within the window after it share the next
email, which is sent when the window ends: the first one opens that email, the others join it. Nothing joins an email
that has been claimed, so every copy of a Message-ID is about the same events.

Decided: the window starts when an email is sent, not when it was last added to; somebody with a notification every
    minute gets one email per window.
Decided: notifications deferred until the same instant (``schedule``) are one bundle, whatever their topics.
Rejected: bundling due notifications at the claim; two workers would each send some of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

MAX_BUNDLED = 100
MAX_DEFERRED = 1_000

# An email that others may join: the id of its job, or its Message-ID if the job is not written yet.
OpenEmail = int | str


class BundleKey(NamedTuple):
    """
    The notifications that share an email: a person's about one topic, or all of theirs deferred until one instant.

    ``until`` is None for a topic; otherwise ``topic`` is empty.
    """

    username: str
    topic: str = ""
    until: datetime | None = None


class BundleCandidate(NamedTuple):
    """
    A notification that may share an email.

    Args:
        message_id: For its own email, if it shares none.
        window: Its type's; positive unless the notification is deferred.
    """

    key: BundleKey
    message_id: str
    window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleState:
    """
    The latest email of a bundle.

    Args:
        last_at: When the last email was sent, or will be; None: there was none.
        email: The waiting email that others may join; None: there is none.
        size: How many notifications that email has.
    """

    last_at: datetime | None = None
    email: OpenEmail | None = None
    size: int = 0


class BundleAssignment(NamedTuple):
    """
    When one notification is sent, and in which email.

    Args:
        leaves_at: None: immediately.
        joins: The email it shares; None: its own.
    """

    leaves_at: datetime | None = None
    joins: OpenEmail | None = None


def assign(
    notifications: Sequence[BundleCandidate], states: Mapping[BundleKey, BundleState], *, now: datetime
) -> tuple[list[BundleAssignment], Mapping[BundleKey, BundleState]]:
    """
    An assignment for each notification, in order, and the new states.

    When an email is full, the next notification opens another: one window later, or, if deferred, at the same
    instant.

    Args:
        states: Of these bundles; a missing one has had no email yet.
    """
    after = dict(states)
    assignments = []
    for one in notifications:
        assignment, after[one.key] = _assign(one, after.get(one.key, BundleState()), now=now)
        assignments.append(assignment)
    return assignments, after


def _assign(one: BundleCandidate, state: BundleState, *, now: datetime) -> tuple[BundleAssignment, BundleState]:
    until = one.key.until
    if state.email is not None and state.size < (MAX_DEFERRED if until else MAX_BUNDLED):
        return BundleAssignment(until or state.last_at, joins=state.email), replace(state, size=state.size + 1)
    if until:
        leaves_at = until
    elif state.last_at is None or state.last_at + one.window <= now:
        return BundleAssignment(), BundleState(last_at=now)
    else:
        leaves_at = state.last_at + one.window
    return BundleAssignment(leaves_at), BundleState(last_at=leaves_at, email=one.message_id, size=1)
