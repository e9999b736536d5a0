"""Notifications are written in their places: with an email of their own, or joining one that waits."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from sqlalchemy import Connection

from notify.domain.bundles import BundleKey, BundleState, Placement, place
from notify.domain.claims import Lane
from notify.domain.schedule import Wait
from notify.store.outbox import bundles, notifications
from notify.store.outbox.bundles import Changed, Locked
from notify.store.outbox.notifications import NewNotification

NEVER = timedelta(0)
Window = Callable[[NewNotification], timedelta]
Waits = Mapping[tuple[int, str], Wait]
NO_WAITS: Waits = MappingProxyType({})


def write(
    connection: Connection, rows: Sequence[NewNotification], *, window: Window, waits: Waits = NO_WAITS
) -> Counter[str]:
    """
    Write the rows that are not there yet; how many by decision. Safe to repeat.

    Workers that tell the same people about the same topics, or defer until the same instant, take turns until they
    commit. A constant number of statements.

    Args:
        window: How long after an email about its topic this one waits; zero: it goes at once and alone.
        waits: Which of them are deferred, by their names.
    """
    rows = [replace(row, deferred_by=waits[row.name].by) if row.name in waits else row for row in rows]
    keys = {row.name: (_key(row, waits), window(row)) for row in rows if row.deferred_by or _follows(row, window)}
    if not keys:
        return notifications.write(connection, rows)
    locked = bundles.lock(connection, {key for key, _ in keys.values()})
    known = notifications.known(connection, sorted({event_id for event_id, _ in keys})) if locked.states else set()
    in_bundles = [row for row in rows if row.name in keys and row.name not in known]
    placements = place([keys[row.name] for row in in_bundles], locked.states, now=locked.now)
    placed = [_placed(row, at, in_bundles) for row, at in zip(in_bundles, placements.each, strict=True)]
    others = [row for row in rows if row.name not in keys]
    changed = _changed(placements.states, locked, in_bundles)
    return notifications.write(connection, [*others, *placed], bundles=changed)


def may_wait(row: NewNotification) -> bool:
    """Whether the person is told, by nothing required."""
    return row.to_email is not None and row.lane != Lane.URGENT


def _placed(row: NewNotification, at: Placement, rows: Sequence[NewNotification]) -> NewNotification:
    leaves_at = at.leaves_at.isoformat() if at.leaves_at else None
    if at.joins is None:
        return replace(row, leaves_at=leaves_at)
    opened_by = None if at.joins.index is None else rows[at.joins.index].message_id
    return replace(row, message_id=None, leaves_at=leaves_at, email_job_id=at.joins.job_id, joins=opened_by)


def _changed(states: Mapping[BundleKey, BundleState], locked: Locked, rows: Sequence[NewNotification]) -> list[Changed]:
    """What differs from what is noted of the bundles; new ones have noted that their email leaves now."""
    before = {key: locked.states.get(key, BundleState(last_at=key.until or locked.now)) for key in states}
    return [
        Changed(
            key=key,
            last_at=state.last_at or locked.now,
            job_id=state.email.job_id if state.email else None,
            message_id=rows[state.email.index].message_id if state.email and state.email.index is not None else None,
        )
        for key, state in states.items()
        if (state.last_at, state.email) != (before[key].last_at, before[key].email)
    ]


def _follows(row: NewNotification, window: Window) -> bool:
    return may_wait(row) and window(row) > NEVER


def _key(row: NewNotification, waits: Waits) -> BundleKey:
    if row.deferred_by:
        return BundleKey(row.username, until=waits[row.name].until)
    return BundleKey(row.username, row.topic)
