"""Stores a person's preferences, and applies them at once to the emails that wait for them."""

from collections.abc import Mapping

from sqlalchemy import Connection

from notify.domain.schedule import AT_ONCE, defer
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import QUIET, SCHEDULE, StoredSettings
from notify.store.outbox import bundles, deferred


def choose(
    connection: Connection, username: str, *, settings: StoredSettings, chosen: Mapping[str, bool | None]
) -> None:
    """
    Store some of a person's preferences, and regroup what is deferred by the new schedule. The caller commits.

    When a person ends a pause, or wants emails at once again, what was deferred leaves now, as one email.

    Args:
        chosen: By event type code, whether emails are wanted; None removes the preference, so the default holds.
    """
    preferences.lock(connection, username)
    before = preferences.config(connection, username).schedule
    preferences.put_config(connection, username, settings=settings, preferences=chosen)
    if settings.keys() & {*SCHEDULE, *QUIET}:
        schedule = preferences.schedules(connection, [username]).get(username, AT_ONCE)
        if schedule != before:
            person = directory.person(connection, username)
            home, now = person.timezone if person else None, bundles.now(connection)
            waits = {by_bot: defer(schedule, home=home, now=now, by_bot=by_bot) for by_bot in (False, True)}
            deferred.regroup(connection, username, waits)
