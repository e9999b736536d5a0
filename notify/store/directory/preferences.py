"""People's preferences: the master switch, kinds of events, topics. Reading creates no row."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from typing import Any, TypedDict

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Text,
    and_,
    any_,
    delete,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.preferences import NO_PREFERENCES, EventType, Preferences
from notify.domain.schedule import AT_ONCE, Mode, QuietHours, Schedule
from notify.store.tables.people import (
    topic_preferences,
    user_notification_preferences,
    user_notification_settings,
)

SWITCHES = ("enabled", "email", "participating", "own_actions", "mentions_pierce_mutes")
SCHEDULE = ("delivery_mode", "digest_hour", "digest_weekday", "timezone")
RESTS = ("quiet_days", "quiet_start", "quiet_end", "paused_until")

_EVENT_TYPES = f"SELECT {', '.join(EventType.__slots__)} FROM notify.notification_event_types ORDER BY code"
_SCHEDULES = f"""
    SELECT username, {", ".join((*SCHEDULE, *RESTS))} FROM notify.user_notification_settings
    WHERE username = ANY (%(usernames)s::text[]) ORDER BY username FOR SHARE"""
_OF_TOPICS = """(
            SELECT array_agg(topic) FROM notify.topic_preferences AS own WHERE own.username = asked.username AND {}
                AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[]))
        )"""
_PREFERENCES = f"""
    SELECT asked.username, {", ".join((*SWITCHES, *SCHEDULE, *RESTS))}, (
            SELECT jsonb_object_agg(event_type_code, own.enabled) FROM notify.user_notification_preferences AS own
            WHERE own.username = asked.username
        ) AS preferences,
        {_OF_TOPICS.format("muted")} AS muted, {_OF_TOPICS.format("subscribed")} AS subscribed
    FROM unnest(%(usernames)s::text[]) AS asked(username)
    LEFT JOIN notify.user_notification_settings AS settings ON settings.username = asked.username"""


class Settings(TypedDict, total=False):
    """
    Preferences about all emails; a missing key leaves what is stored.

    ``email`` and ``timezone`` None are the directory's. The three of the quiet hours are given together, None for none.
    """

    enabled: bool
    email: str | None
    participating: bool
    own_actions: bool
    mentions_pierce_mutes: bool
    delivery_mode: str
    digest_hour: int
    digest_weekday: int
    timezone: str | None
    quiet_days: Sequence[int] | None
    quiet_start: time | None
    quiet_end: time | None
    paused_until: datetime | None


def quiet(hours: QuietHours | None) -> Settings:
    """What to store of quiet hours; None: that there are none."""
    if hours is None:
        return Settings(quiet_days=None, quiet_start=None, quiet_end=None)
    return Settings(quiet_days=sorted(hours.days), quiet_start=hours.start, quiet_end=hours.end)


def event_types(connection: Connection) -> dict[str, EventType]:
    """Every kind of event people can choose about, by code."""
    return {row["code"]: EventType(**row) for row in connection.exec_driver_sql(_EVENT_TYPES).mappings()}


def choices(
    connection: Connection, usernames: Iterable[str], *, topics: Iterable[str] | None = None
) -> dict[str, Preferences]:
    """
    What these people have stored, by username; who has stored nothing is absent.

    Args:
        topics: Load what is muted or subscribed to of these change lists only, which is all a fan-out needs;
            None loads all of it.
    """
    asked = {"usernames": list(usernames), "topics": None if topics is None else list(topics)}
    rows = connection.exec_driver_sql(_PREFERENCES, asked).mappings()
    return {row["username"]: found for row in rows if (found := _preferences(row)) is not NO_PREFERENCES}


def config(connection: Connection, username: str) -> Preferences:
    """One person's preferences, with every topic and the defaults where nothing is stored."""
    return choices(connection, [username]).get(username, NO_PREFERENCES)


def schedules(connection: Connection, usernames: Iterable[str]) -> dict[str, Schedule]:
    """
    When these people want emails, by username; who has stored nothing is absent.

    Who changes one of these waits until the end of the transaction, and finds what it wrote.
    """
    rows = connection.exec_driver_sql(_SCHEDULES, {"usernames": list(usernames)})
    return {row["username"]: schedule_of(row) for row in rows.mappings()}


def lock(connection: Connection, username: str) -> None:
    """Nobody else changes the person's preferences, or writes by their schedule, before the transaction ends."""
    _put_settings(connection, username, {})


def put_config(
    connection: Connection, username: str, *, settings: Settings, preferences: Mapping[str, bool | None]
) -> None:
    """
    Store any part of a person's preferences; what is not given stays as it is.

    The first statement always locks the person's settings row, so that two callers take turns and cannot deadlock.

    Args:
        preferences: Event type code to the preference; None forgets it, so that the type's default holds.
    """
    _put_settings(connection, username, settings)
    _forget(connection, username, [code for code, enabled in preferences.items() if enabled is None])
    _choose(connection, username, {code: enabled for code, enabled in preferences.items() if enabled is not None})


def set_preference(connection: Connection, username: str, code: str, *, enabled: bool) -> None:
    """Store an explicit preference about one kind of event. Safe to repeat."""
    _choose(connection, username, {code: enabled})


def mute(connection: Connection, username: str, topic: str) -> None:
    """No more emails about the change list, which need not be in the directory. Safe to repeat."""
    _begin(connection, username, topic, topic_preferences.c.muted)


def unmute(connection: Connection, username: str, *topics: str) -> None:
    """Emails about these change lists again. Safe to repeat."""
    _end(connection, username, topics, topic_preferences.c.muted, other=topic_preferences.c.subscribed)


def subscribe(connection: Connection, username: str, topic: str) -> None:
    """Emails about the change list, which need not be in the directory, unless it is muted. Safe to repeat."""
    _begin(connection, username, topic, topic_preferences.c.subscribed)


def unsubscribe(connection: Connection, username: str, *topics: str) -> None:
    """No more emails about these change lists for having asked. Safe to repeat."""
    _end(connection, username, topics, topic_preferences.c.subscribed, other=topic_preferences.c.muted)


def _begin(connection: Connection, username: str, topic: str, column: Column[bool]) -> None:
    statement = insert(topic_preferences).values(username=username, topic=topic, **{column.name: True})
    connection.execute(statement.on_conflict_do_update(index_elements=["username", "topic"], set_={column.name: True}))


def _end(
    connection: Connection, username: str, topics: Sequence[str], ended: Column[bool], *, other: Column[bool]
) -> None:
    """Locks the rows first, so that nobody changes *other* between the two statements that depend on it."""
    mine = and_(topic_preferences.c.username == username, _among(topic_preferences.c.topic, topics))
    connection.execute(
        select(topic_preferences.c.topic).where(mine).order_by(*topic_preferences.primary_key).with_for_update()
    )
    connection.execute(delete(topic_preferences).where(mine, ~other))
    connection.execute(update(topic_preferences).where(mine, other, ended).values({ended: False}))


def _among(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(literal(list(values), ARRAY(Text)))


def _preferences(row: RowMapping) -> Preferences:
    if row["enabled"] is None and not (row["preferences"] or row["muted"] or row["subscribed"]):
        return NO_PREFERENCES
    return Preferences(
        **of_all_emails(row),
        preferences=row["preferences"] or {},
        muted_cls=frozenset(row["muted"] or ()),
        subscribed_cls=frozenset(row["subscribed"] or ()),
    )


def of_all_emails(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """The fields of ``Preferences`` about all emails; none where nothing is stored, ``enabled`` then being null."""
    if row["enabled"] is None:
        return {}
    return {name: row[name] for name in SWITCHES} | {"schedule": schedule_of(row)}


def schedule_of(row: Mapping[str, Any] | RowMapping) -> Schedule:
    """What the columns say; the one object for all who want everything at once, so that these are found fast."""
    days, start, end, paused_until = (row[name] for name in RESTS)
    found = Schedule(
        mode=Mode(row["delivery_mode"]),
        hour=row["digest_hour"],
        weekday=row["digest_weekday"],
        timezone=row["timezone"],
        quiet_hours=QuietHours(days=frozenset(days), start=start, end=end) if days else None,
        paused_until=paused_until,
    )
    return AT_ONCE if found == AT_ONCE else found


def _put_settings(connection: Connection, username: str, given: Settings) -> None:
    """Store what is given; where nothing is, the row is still written, for its lock."""
    statement = insert(user_notification_settings).values(username=username, **given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["username"], set_={"username": username, **given})
    )


def _choose(connection: Connection, username: str, chosen: Mapping[str, bool]) -> None:
    if not chosen:
        return
    rows = [{"username": username, "event_type_code": code, "enabled": chosen[code]} for code in sorted(chosen)]
    statement = insert(user_notification_preferences).values(rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["username", "event_type_code"], set_={"enabled": statement.excluded.enabled}
        )
    )


def _forget(connection: Connection, username: str, codes: Sequence[str]) -> None:
    mine = user_notification_preferences.c.username == username
    connection.execute(
        delete(user_notification_preferences).where(
            mine, _among(user_notification_preferences.c.event_type_code, codes)
        )
    )
