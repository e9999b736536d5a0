"""What people have chosen: the master switch, kinds of events, muted change lists. Reading creates no row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from sqlalchemy import ColumnElement, Connection, Text, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.preferences import NO_CHOICES, Choices, EventType
from notify.store.tables import (
    cl_mutes,
    notification_event_types,
    user_notification_preferences,
    user_notification_settings,
)

REALTIME = "realtime"
EVENT_TYPE = tuple(notification_event_types.c[name] for name in EventType.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One person's choices as they stand, with the defaults where nothing is stored."""

    choices: Choices = NO_CHOICES
    delivery_mode: str = REALTIME


class Settings(TypedDict, total=False):
    """Choices about all letters; a missing key leaves what is stored. ``email`` None is the directory's."""

    enabled: bool
    email: str | None
    delivery_mode: str


def event_types(connection: Connection) -> dict[str, EventType]:
    """Every kind of event people can choose about, by code."""
    query = select(*EVENT_TYPE).order_by(notification_event_types.c.code)
    return {row["code"]: EventType(**row) for row in connection.execute(query).mappings()}


def choices(
    connection: Connection, usernames: Iterable[str], *, cl_links: Iterable[str] | None = None
) -> dict[str, Choices]:
    """
    What these people have chosen, by username; who has chosen nothing is absent.

    Args:
        cl_links: Load the mutes of these change lists only, which is all a fan-out needs; None loads every mute.
    """
    names = list(usernames)
    stored = _settings(connection, names)
    chosen = _preferences(connection, names)
    muted = _mutes(connection, names, links=None if cl_links is None else list(cl_links))
    found = {}
    for name in {*stored, *chosen, *muted}:
        enabled, email = stored.get(name, (NO_CHOICES.enabled, NO_CHOICES.email))
        found[name] = Choices(
            enabled=enabled,
            email=email,
            preferences=chosen.get(name, {}),
            muted_cls=muted.get(name, frozenset()),
        )
    return found


def config(connection: Connection, username: str) -> Config:
    """One person's choices as they stand, with every muted change list."""
    mode = connection.scalar(
        select(user_notification_settings.c.delivery_mode).where(user_notification_settings.c.username == username)
    )
    chosen = choices(connection, [username]).get(username, NO_CHOICES)
    return Config(choices=chosen, delivery_mode=mode or REALTIME)


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


def mute(connection: Connection, username: str, cl_link: str) -> None:
    """No more letters about the change list, which need not be in the directory. Safe to repeat."""
    connection.execute(insert(cl_mutes).values(username=username, cl_link=cl_link).on_conflict_do_nothing())


def unmute(connection: Connection, username: str, *cl_links: str) -> None:
    """Letters about these change lists again. Safe to repeat."""
    mine = cl_mutes.c.username == username
    connection.execute(delete(cl_mutes).where(mine, _among(cl_mutes.c.cl_link, cl_links)))


def _among(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(literal(list(values), ARRAY(Text)))


def _settings(connection: Connection, usernames: Sequence[str]) -> dict[str, tuple[bool, str | None]]:
    """The master switch and the chosen address of each person who has a row."""
    columns = (
        user_notification_settings.c.username,
        user_notification_settings.c.enabled,
        user_notification_settings.c.email,
    )
    rows = connection.execute(select(*columns).where(_among(user_notification_settings.c.username, usernames)))
    return {username: (enabled, email) for username, enabled, email in rows}


def _preferences(connection: Connection, usernames: Sequence[str]) -> dict[str, dict[str, bool]]:
    columns = (
        user_notification_preferences.c.username,
        user_notification_preferences.c.event_type_code,
        user_notification_preferences.c.enabled,
    )
    found: dict[str, dict[str, bool]] = {}
    for username, code, enabled in connection.execute(
        select(*columns).where(_among(user_notification_preferences.c.username, usernames))
    ):
        found.setdefault(username, {})[code] = enabled
    return found


def _mutes(
    connection: Connection, usernames: Sequence[str], *, links: Sequence[str] | None
) -> dict[str, frozenset[str]]:
    query = (
        select(cl_mutes.c.username, func.array_agg(cl_mutes.c.cl_link))
        .where(_among(cl_mutes.c.username, usernames))
        .group_by(cl_mutes.c.username)
    )
    if links is not None:
        query = query.where(_among(cl_mutes.c.cl_link, links))
    return {username: frozenset(muted) for username, muted in connection.execute(query)}


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
