"""Writes notifications, each with its own email or in a waiting one, scheduled as its person prefers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from notify.domain.bundles import BundleAssignment, BundleCandidate, BundleKey, BundleState, assign
from notify.domain.claims import Lane
from notify.domain.preferences import NO_PREFERENCES
from notify.domain.schedule import IMMEDIATE, Deferral, defer
from notify.store.directory import preferences
from notify.store.outbox import bundles, notifications
from notify.store.outbox.audiences import Known
from notify.store.outbox.bundles import BundleUpdate, LockedBundles
from notify.store.outbox.notifications import NewNotification

NEVER = timedelta(0)


def write(connection: Connection, rows: Sequence[NewNotification], *, known: Known, window: timedelta) -> Counter[str]:
    """
    Write the rows that do not exist yet; returns how many by decision. Safe to repeat.

    Locks the affected bundles until commit. A constant number of statements.

    Args:
        window: Bundling window of event types without their own; zero: no bundling. Required emails are bundled only
            if their type has a window of its own.
    """
    told = [row for row in rows if row.message_id]
    deferrals = _deferrals(connection, [row for row in told if row.lane != Lane.URGENT], known)
    bundled: dict[tuple[int, str], BundleCandidate] = {}
    for row in told:
        of_type, deferral = known.event_types[row.event_type].bundle_within, deferrals.get(row.name)
        default = NEVER if row.lane == Lane.URGENT else window
        within = default if of_type is None else of_type
        if deferral or within:
            key = BundleKey(row.username, until=deferral.until) if deferral else BundleKey(row.username, row.topic)
            bundled[row.name] = BundleCandidate(key, row.message_id or "", within)
    if not bundled:
        return notifications.write(connection, rows)
    locked = bundles.lock(connection, {one.key for one in bundled.values()})
    decided = notifications.decided(connection, sorted({id_ for id_, _ in bundled})) if locked.states else set()
    new = [name for name in bundled if name not in decided]
    assignments, states = assign([bundled[name] for name in new], locked.states, now=locked.now)
    assigned = dict(zip(new, assignments, strict=True))
    return notifications.write(
        connection,
        [
            _with_assignment(row, assigned[row.name], deferrals.get(row.name)) if row.name in assigned else row
            for row in rows
            if row.name not in decided
        ],
        bundles=_changed(states, locked),
    )


def _deferrals(
    connection: Connection, rows: Sequence[NewNotification], known: Known
) -> Mapping[tuple[int, str], Deferral]:
    """
    The deferrals of those rows that are deferred, by name.

    Two statements if anybody has a schedule or a bot is the actor, else none. The schedules read are locked, so that
    a later change also applies to these rows.
    """
    asked = [
        row
        for row in rows
        if row.lane == Lane.BULK or known.preferences.get(row.username, NO_PREFERENCES).schedule is not IMMEDIATE
    ]
    if not asked:
        return {}
    schedules = preferences.schedules(connection, {row.username for row in asked})
    now = bundles.now(connection)
    found = {
        row.name: defer(
            schedules.get(row.username, IMMEDIATE),
            home=known.people[row.username].timezone,
            now=now,
            by_bot=row.lane == Lane.BULK,
        )
        for row in asked
    }
    return {name: deferral for name, deferral in found.items() if deferral}


def _with_assignment(row: NewNotification, at: BundleAssignment, deferral: Deferral | None) -> NewNotification:
    row = replace(
        row, leaves_at=at.leaves_at.isoformat() if at.leaves_at else None, deferred_by=deferral.by if deferral else None
    )
    match at.joins:
        case None:
            return row
        case int(job_id):
            return replace(row, message_id=None, email_job_id=job_id)
        case str(message_id):
            return replace(row, message_id=None, joins=message_id)


def _changed(states: Mapping[BundleKey, BundleState], locked: LockedBundles) -> list[BundleUpdate]:
    """The bundles to store; new ones as if their email had been sent now."""
    before = {key: locked.states.get(key, BundleState(last_at=key.until or locked.now)) for key in states}
    return [
        BundleUpdate(
            key=key,
            last_at=state.last_at or locked.now,
            job_id=state.email if isinstance(state.email, int) else None,
            message_id=state.email if isinstance(state.email, str) else None,
        )
        for key, state in states.items()
        if (state.last_at, state.email) != (before[key].last_at, before[key].email)
    ]
