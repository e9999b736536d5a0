"""Stores a person's preferences and applies them to their waiting emails."""

from collections.abc import Mapping

from sqlalchemy import Connection

from notify.domain.schedule import IMMEDIATE, defer
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import QUIET, SCHEDULE, StoredSettings
from notify.store.outbox import bundles, deferred


def save_preferences(
    connection: Connection, username: str, *, settings: StoredSettings, event_types: Mapping[str, bool | None]
) -> None:
    """
    Store some of a person's preferences, and reschedule their deferred emails if the schedule changed.

    When a person ends a pause or switches to immediate emails, what was deferred is sent now, as one email.
    The caller commits.

    Args:
        event_types: Whether emails are wanted, by event type code; None removes the preference.
    """
    preferences.lock(connection, username)
    before = preferences.config(connection, username).schedule
    preferences.put_config(connection, username, settings=settings, preferences=event_types)
    if settings.keys() & {*SCHEDULE, *QUIET}:
        schedule = preferences.schedules(connection, [username]).get(username, IMMEDIATE)
        if schedule != before:
            person = directory.person(connection, username)
            home, now = person.timezone if person else None, bundles.now(connection)
            waits = {by_bot: defer(schedule, home=home, now=now, by_bot=by_bot) for by_bot in (False, True)}
            deferred.regroup(connection, username, waits)
