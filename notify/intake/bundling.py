"""Writes notifications: each with an email of its own, or in one that waits, at the hour that its person wants."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from notify.domain.bundles import Bundled, BundleKey, BundleState, Placement, place
from notify.domain.claims import Lane
from notify.domain.preferences import NO_PREFERENCES
from notify.domain.schedule import AT_ONCE, Wait, defer
from notify.store.directory import preferences
from notify.store.outbox import bundles, notifications
from notify.store.outbox.audiences import Known
from notify.store.outbox.bundles import Changed, Locked
from notify.store.outbox.notifications import NewNotification


def write(connection: Connection, rows: Sequence[NewNotification], *, known: Known, window: timedelta) -> Counter[str]:
    """
    Write the rows that are not there yet; how many by decision. Safe to repeat.

    Workers that tell the same people about the same topics, or defer until the same instant, take turns until they
    commit. A constant number of statements.

    Args:
        window: How long after an email the next about its topic waits where its type does not say; zero: not at all.
    """
    optional = [row for row in rows if row.message_id and row.lane != Lane.URGENT]
    waits = _waits(connection, optional, known)
    bundled: dict[tuple[int, str], Bundled] = {}
    for row in optional:
        stated, wait = known.event_types[row.event_type].bundle_within, waits.get(row.name)
        own = window if stated is None else stated
        if wait or own:
            key = BundleKey(row.username, until=wait.until) if wait else BundleKey(row.username, row.topic)
            bundled[row.name] = Bundled(key, row.message_id or "", own)
    if not bundled:
        return notifications.write(connection, rows)
    locked = bundles.lock(connection, {one.key for one in bundled.values()})
    decided = notifications.known(connection, sorted({id_ for id_, _ in bundled})) if locked.states else set()
    new = [name for name in bundled if name not in decided]
    placements, states = place([bundled[name] for name in new], locked.states, now=locked.now)
    placed = dict(zip(new, placements, strict=True))
    return notifications.write(
        connection,
        [
            _placed(row, placed[row.name], waits.get(row.name)) if row.name in placed else row
            for row in rows
            if row.name not in decided
        ],
        bundles=_changed(states, locked),
    )


def _waits(connection: Connection, rows: Sequence[NewNotification], known: Known) -> Mapping[tuple[int, str], Wait]:
    """
    How long each of these waits that is deferred, by its name.

    Two statements where anybody has a schedule or a bot did something, else none. Whose schedule is read changes
    it only after the rows are there, so that the change reaches them too.
    """
    asked = [
        row
        for row in rows
        if row.lane == Lane.BULK or known.preferences.get(row.username, NO_PREFERENCES).schedule is not AT_ONCE
    ]
    if not asked:
        return {}
    schedules = preferences.schedules(connection, {row.username for row in asked})
    now = bundles.now(connection)
    found = {
        row.name: defer(
            schedules.get(row.username, AT_ONCE),
            home=known.people[row.username].timezone,
            now=now,
            by_bot=row.lane == Lane.BULK,
        )
        for row in asked
    }
    return {name: wait for name, wait in found.items() if wait}


def _placed(row: NewNotification, at: Placement, wait: Wait | None) -> NewNotification:
    row = replace(
        row, leaves_at=at.leaves_at.isoformat() if at.leaves_at else None, deferred_by=wait.by if wait else None
    )
    match at.joins:
        case None:
            return row
        case int(job_id):
            return replace(row, message_id=None, email_job_id=job_id)
        case str(message_id):
            return replace(row, message_id=None, joins=message_id)


def _changed(states: Mapping[BundleKey, BundleState], locked: Locked) -> list[Changed]:
    """What differs from what is stored of the bundles; new ones are stored as if their email left now."""
    before = {key: locked.states.get(key, BundleState(last_at=key.until or locked.now)) for key in states}
    return [
        Changed(
            key=key,
            last_at=state.last_at or locked.now,
            job_id=state.email if isinstance(state.email, int) else None,
            message_id=state.email if isinstance(state.email, str) else None,
        )
        for key, state in states.items()
        if (state.last_at, state.email) != (before[key].last_at, before[key].email)
    ]
