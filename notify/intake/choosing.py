"""A person chooses: what they say is stored, and what waits for them follows it at once."""

from collections.abc import Mapping

from sqlalchemy import Connection

from notify.domain.schedule import AT_ONCE, defer
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import RESTS, SCHEDULE, Settings
from notify.store.outbox import bundles, deferred


def choose(connection: Connection, username: str, *, settings: Settings, chosen: Mapping[str, bool | None]) -> None:
    """
    Store any part of a person's choices, and let what waits for them wait by these, in one transaction.

    Who ends a pause, or wants letters at once again, gets what was deferred now, as one email.

    Args:
        chosen: Event type code to the choice; None forgets the choice, so that the type's default holds.
    """
    preferences.lock(connection, username)
    before = preferences.config(connection, username).schedule
    preferences.put_config(connection, username, settings=settings, preferences=chosen)
    if settings.keys() & {*SCHEDULE, *RESTS}:
        schedule = preferences.schedules(connection, [username]).get(username, AT_ONCE)
        if schedule != before:
            person = directory.person(connection, username)
            home, now = person.timezone if person else None, bundles.now(connection)
            waits = {by_bot: defer(schedule, home=home, now=now, by_bot=by_bot) for by_bot in (False, True)}
            deferred.regroup(connection, username, waits)
