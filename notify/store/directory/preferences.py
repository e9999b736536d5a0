"""People's preferences: about all emails, event types and topics. Reading never creates a row."""

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
from notify.domain.schedule import IMMEDIATE, Mode, QuietHours, Schedule
from notify.store.tables.people import (
    topic_preferences,
    user_notification_preferences,
    user_notification_settings,
)

SWITCHES = ("enabled", "email", "participating", "own_actions", "mentions_pierce_mutes")
SCHEDULE = ("delivery_mode", "digest_hour", "digest_weekday", "timezone")
QUIET = ("quiet_days", "quiet_start", "quiet_end", "paused_until")

_EVENT_TYPES = f"SELECT {', '.join(EventType.__slots__)} FROM notify.notification_event_types ORDER BY code"
_SCHEDULES = f"""
    SELECT username, {", ".join((*SCHEDULE, *QUIET))} FROM notify.user_notification_settings
    WHERE username = ANY (%(usernames)s::text[]) ORDER BY username FOR SHARE"""
_OF_TOPICS = """(
            SELECT array_agg(topic) FROM notify.topic_preferences AS own WHERE own.username = asked.username AND {}
                AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[]))
        )"""
_PREFERENCES = f"""
    SELECT asked.username, {", ".join((*SWITCHES, *SCHEDULE, *QUIET))}, (
            SELECT jsonb_object_agg(event_type_code, own.enabled) FROM notify.user_notification_preferences AS own
            WHERE own.username = asked.username
        ) AS preferences,
        {_OF_TOPICS.format("muted")} AS muted, {_OF_TOPICS.format("subscribed")} AS subscribed
    FROM unnest(%(usernames)s::text[]) AS asked(username)
    LEFT JOIN notify.user_notification_settings AS settings ON settings.username = asked.username"""


class StoredSettings(TypedDict, total=False):
    """
    Columns of ``user_notification_settings`` to change; a missing key keeps what is stored.

    ``email`` and ``timezone`` None: the directory's. Quiet hours take all three columns, None for no quiet hours.
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


def quiet_columns(hours: QuietHours | None) -> StoredSettings:
    """The columns for these quiet hours; None: no quiet hours."""
    if hours is None:
        return StoredSettings(quiet_days=None, quiet_start=None, quiet_end=None)
    return StoredSettings(quiet_days=sorted(hours.days), quiet_start=hours.start, quiet_end=hours.end)


def event_types(connection: Connection) -> dict[str, EventType]:
    """Every event type, by code."""
    return {row["code"]: EventType(**row) for row in connection.exec_driver_sql(_EVENT_TYPES).mappings()}


def load(
    connection: Connection, usernames: Iterable[str], *, topics: Iterable[str] | None = None
) -> dict[str, Preferences]:
    """
    These people's preferences, by username; people who have stored nothing are absent.

    Args:
        topics: Load mutes and subscriptions of these change lists only; None: all of them.
    """
    asked = {"usernames": list(usernames), "topics": None if topics is None else list(topics)}
    rows = connection.exec_driver_sql(_PREFERENCES, asked).mappings()
    return {row["username"]: found for row in rows if (found := _preferences(row)) is not NO_PREFERENCES}


def config(connection: Connection, username: str) -> Preferences:
    """One person's preferences, with all topics; the defaults where nothing is stored."""
    return load(connection, [username]).get(username, NO_PREFERENCES)


def schedules(connection: Connection, usernames: Iterable[str]) -> dict[str, Schedule]:
    """
    When these people want emails, by username; people who have stored nothing are absent.

    Locks the rows: nobody changes a schedule before the transaction ends.
    """
    rows = connection.exec_driver_sql(_SCHEDULES, {"usernames": list(usernames)})
    return {row["username"]: to_schedule(row) for row in rows.mappings()}


def lock(connection: Connection, username: str) -> None:
    """Lock the person's settings row, creating it if needed, until the transaction ends; ``schedules`` waits for it."""
    _put_settings(connection, username, {})


def put_config(
    connection: Connection, username: str, *, settings: StoredSettings, preferences: Mapping[str, bool | None]
) -> None:
    """
    Store any part of a person's preferences; the rest stays as it is.

    Locks the person's settings row first, so that two callers take turns and cannot deadlock.

    Args:
        preferences: By event type code; None deletes the preference, so that the type's default applies.
    """
    _put_settings(connection, username, settings)
    _delete_preferences(connection, username, [code for code, enabled in preferences.items() if enabled is None])
    _put_preferences(
        connection, username, {code: enabled for code, enabled in preferences.items() if enabled is not None}
    )


def set_preference(connection: Connection, username: str, code: str, *, enabled: bool) -> None:
    """Store a preference about one event type. Safe to repeat."""
    _put_preferences(connection, username, {code: enabled})


def mute(connection: Connection, username: str, *topics: str) -> None:
    """Mute these change lists, which need not be in the directory, or queues. Safe to repeat."""
    _set(connection, username, topics, topic_preferences.c.muted)


def unmute(connection: Connection, username: str, *topics: str) -> None:
    """Unmute these topics. Safe to repeat."""
    _clear(connection, username, topics, topic_preferences.c.muted, other=topic_preferences.c.subscribed)


def subscribe(connection: Connection, username: str, *topics: str) -> None:
    """Subscribe to these change lists, which need not be in the directory, or queues. A mute still wins."""
    _set(connection, username, topics, topic_preferences.c.subscribed)


def unsubscribe(connection: Connection, username: str, *topics: str) -> None:
    """End subscriptions to these topics. Safe to repeat."""
    _clear(connection, username, topics, topic_preferences.c.subscribed, other=topic_preferences.c.muted)


def _set(connection: Connection, username: str, topics: Sequence[str], column: Column[bool]) -> None:
    """Writes in order, so that two callers take turns and cannot deadlock."""
    if not topics:
        return
    rows = [{"username": username, "topic": topic, column.name: True} for topic in sorted(set(topics))]
    statement = insert(topic_preferences).values(rows)
    connection.execute(statement.on_conflict_do_update(index_elements=["username", "topic"], set_={column.name: True}))


def _clear(
    connection: Connection, username: str, topics: Sequence[str], cleared: Column[bool], *, other: Column[bool]
) -> None:
    """Locks the rows first: both statements depend on *other*."""
    mine = and_(topic_preferences.c.username == username, _among(topic_preferences.c.topic, topics))
    connection.execute(
        select(topic_preferences.c.topic).where(mine).order_by(*topic_preferences.primary_key).with_for_update()
    )
    connection.execute(delete(topic_preferences).where(mine, ~other))
    connection.execute(update(topic_preferences).where(mine, other, cleared).values({cleared: False}))


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
    """The fields of ``Preferences`` about all emails; empty where nothing is stored (``enabled`` is null)."""
    if row["enabled"] is None:
        return {}
    return {name: row[name] for name in SWITCHES} | {"schedule": to_schedule(row)}


def to_schedule(row: Mapping[str, Any] | RowMapping) -> Schedule:
    """The schedule in a row; the object ``IMMEDIATE`` itself if it equals it, so that callers can use ``is``."""
    days, start, end, paused_until = (row[name] for name in QUIET)
    found = Schedule(
        mode=Mode(row["delivery_mode"]),
        hour=row["digest_hour"],
        weekday=row["digest_weekday"],
        timezone=row["timezone"],
        quiet_hours=QuietHours(days=frozenset(days), start=start, end=end) if days else None,
        paused_until=paused_until,
    )
    return IMMEDIATE if found == IMMEDIATE else found


def _put_settings(connection: Connection, username: str, given: StoredSettings) -> None:
    """Store these columns; without any the row is still written, to lock it."""
    statement = insert(user_notification_settings).values(username=username, **given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["username"], set_={"username": username, **given})
    )


def _put_preferences(connection: Connection, username: str, preferences: Mapping[str, bool]) -> None:
    if not preferences:
        return
    rows = [
        {"username": username, "event_type_code": code, "enabled": preferences[code]} for code in sorted(preferences)
    ]
    statement = insert(user_notification_preferences).values(rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["username", "event_type_code"], set_={"enabled": statement.excluded.enabled}
        )
    )


def _delete_preferences(connection: Connection, username: str, codes: Sequence[str]) -> None:
    mine = user_notification_preferences.c.username == username
    connection.execute(
        delete(user_notification_preferences).where(
            mine, _among(user_notification_preferences.c.event_type_code, codes)
        )
    )
