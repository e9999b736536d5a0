"""Which notifications are deferred that are written now, by the schedules of those whom they are for."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.preferences import NO_PREFERENCES, Person, Preferences
from notify.domain.schedule import AT_ONCE, Wait, defer
from notify.intake.bundling import NO_WAITS, may_wait
from notify.store.directory import preferences
from notify.store.outbox import bundles
from notify.store.outbox.notifications import NewNotification


def waits(
    connection: Connection,
    rows: Sequence[NewNotification],
    *,
    people: Mapping[str, Person],
    choices: Mapping[str, Preferences],
) -> Mapping[tuple[int, str], Wait]:
    """
    How long each of these waits that is deferred, by its name.

    Two statements where anybody has a schedule or a bot did something, else none. Whose schedule is read changes
    it only after the rows are there, so that the change reaches them too.
    """
    asked = [row for row in rows if may_wait(row) and (_by_bot(row) or _scheduled(choices.get(row.username)))]
    if not asked:
        return NO_WAITS
    schedules = preferences.schedules(connection, {row.username for row in asked})
    now = bundles.now(connection)
    found = {
        row.name: defer(
            schedules.get(row.username, AT_ONCE),
            home=people[row.username].timezone,
            now=now,
            by_bot=_by_bot(row),
        )
        for row in asked
    }
    return {name: wait for name, wait in found.items() if wait}


def _by_bot(row: NewNotification) -> bool:
    return row.lane == Lane.BULK


def _scheduled(chosen: Preferences | None) -> bool:
    return (chosen or NO_PREFERENCES).schedule is not AT_ONCE
