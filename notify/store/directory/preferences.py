"""What people have chosen: the master switch, kinds of events, muted change lists. Reading creates no row."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from functools import cache
from typing import Any, TypedDict

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.preferences import NO_CHOICES, Choices, EventType
from notify.domain.schedule import AT_ONCE, Mode, QuietHours, Schedule
from notify.store.tables import (
    cl_mutes,
    cl_subscriptions,
    notification_event_types,
    user_notification_preferences,
    user_notification_settings,
)

SWITCHES = ("enabled", "email", "participating", "own_actions", "mentions_pierce_mutes")
SCHEDULE = ("delivery_mode", "digest_hour", "digest_weekday", "timezone")
RESTS = ("quiet_days", "quiet_start", "quiet_end", "paused_until")
STORED = ("settings", "preferences", "muted", "subscribed")
EVENT_TYPE = tuple(notification_event_types.c[name] for name in EventType.__slots__)


# Built once: building a statement and deriving its cache key costs several times what sending it does.
_USERNAMES = bindparam("usernames", type_=ARRAY(Text))
_LINKS = bindparam("links", type_=ARRAY(Text))
_EVENT_TYPES = select(*EVENT_TYPE).order_by(notification_event_types.c.code)
_SCHEDULES = (
    select(
        user_notification_settings.c.username,
        *(user_notification_settings.c[name] for name in (*SCHEDULE, *RESTS)),
    )
    .where(user_notification_settings.c.username == any_(_USERNAMES))
    .order_by(user_notification_settings.c.username)
    .with_for_update(read=True)
)


class Settings(TypedDict, total=False):
    """
    Choices about all letters; a missing key leaves what is stored.

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
    return {row["code"]: EventType(**row) for row in connection.execute(_EVENT_TYPES).mappings()}


def choices(
    connection: Connection, usernames: Iterable[str], *, topics: Iterable[str] | None = None
) -> dict[str, Choices]:
    """
    What these people have chosen, by username; who has chosen nothing is absent.

    Args:
        topics: Load what is muted or subscribed to of these change lists only, which is all a fan-out needs;
            None loads all of it.
    """
    links = None if topics is None else list(topics)
    rows = connection.execute(_choices(some=links is not None), {"usernames": list(usernames), "links": links})
    return {row["username"]: _chosen(row) for row in rows.mappings() if any(row[name] for name in STORED)}


def config(connection: Connection, username: str) -> Choices:
    """One person's choices as they stand, with every muted change list and the defaults where nothing is stored."""
    return choices(connection, [username]).get(username, NO_CHOICES)


def schedules(connection: Connection, usernames: Iterable[str]) -> dict[str, Schedule]:
    """
    When these people want letters, by username; who has chosen nothing about anything is absent.

    Who changes one of these choices waits until the end of the transaction, and finds what it wrote.
    """
    rows = connection.execute(_SCHEDULES, {"usernames": list(usernames)})
    return {row["username"]: schedule_of(row) for row in rows.mappings()}


def lock(connection: Connection, username: str) -> None:
    """Nobody else changes the person's choices, or reads the schedule to write by it, before the transaction ends."""
    _put_settings(connection, username, {})


def put_config(
    connection: Connection, username: str, *, settings: Settings, preferences: Mapping[str, bool | None]
) -> None:
    """
    Store any part of a person's choices; what is not given stays as it is.

    The first statement always locks the person's settings row, so that two callers take turns and cannot deadlock.

    Args:
        preferences: Event type code to the choice; None forgets the choice, so that the type's default holds.
    """
    _put_settings(connection, username, settings)
    _forget(connection, username, [code for code, enabled in preferences.items() if enabled is None])
    _choose(connection, username, {code: enabled for code, enabled in preferences.items() if enabled is not None})


def set_preference(connection: Connection, username: str, code: str, *, enabled: bool) -> None:
    """Store an explicit choice about one kind of event. Safe to repeat."""
    _choose(connection, username, {code: enabled})


def mute(connection: Connection, username: str, topic: str) -> None:
    """No more letters about the change list, which need not be in the directory. Safe to repeat."""
    connection.execute(insert(cl_mutes).values(username=username, topic=topic).on_conflict_do_nothing())


def unmute(connection: Connection, username: str, *topics: str) -> None:
    """Letters about these change lists again. Safe to repeat."""
    mine = cl_mutes.c.username == username
    connection.execute(delete(cl_mutes).where(mine, _among(cl_mutes.c.topic, topics)))


def subscribe(connection: Connection, username: str, topic: str) -> None:
    """Letters about the change list, which need not be in the directory. Safe to repeat."""
    connection.execute(insert(cl_subscriptions).values(username=username, topic=topic).on_conflict_do_nothing())


def unsubscribe(connection: Connection, username: str, *topics: str) -> None:
    """No more letters about these change lists for having asked. Safe to repeat."""
    mine = cl_subscriptions.c.username == username
    connection.execute(delete(cl_subscriptions).where(mine, _among(cl_subscriptions.c.topic, topics)))


def _among(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(literal(list(values), ARRAY(Text)))


@cache
def _choices(*, some: bool) -> Select[Any]:
    """All that each of these people has stored, in one statement, by the primary keys of where it is."""
    asked = func.unnest(_USERNAMES).table_valued("name", name="asked").render_derived()
    name = asked.c.name
    settings, chosen = user_notification_settings.c, user_notification_preferences.c
    by_type = select(func.jsonb_object_agg(chosen.event_type_code, chosen.enabled)).where(chosen.username == name)

    def links(table: Table) -> ColumnElement[Any]:
        query = select(func.array_agg(table.c.topic)).where(table.c.username == name)
        return (query.where(table.c.topic == any_(_LINKS)) if some else query).scalar_subquery()

    return select(
        name.label("username"),
        settings.username.label("settings"),
        *(settings[column] for column in (*SWITCHES, *SCHEDULE, *RESTS)),
        by_type.scalar_subquery().label("preferences"),
        links(cl_mutes).label("muted"),
        links(cl_subscriptions).label("subscribed"),
    ).outerjoin_from(asked, user_notification_settings, settings.username == name)


def _chosen(row: RowMapping) -> Choices:
    of_all = {name: row[name] for name in SWITCHES} | {"schedule": schedule_of(row)} if row["settings"] else {}
    return Choices(
        **of_all,
        preferences=row["preferences"] or {},
        muted_cls=frozenset(row["muted"] or ()),
        subscribed_cls=frozenset(row["subscribed"] or ()),
    )


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
