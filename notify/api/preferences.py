"""A person's own choices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection

from notify.api.schemas import (
    ChangeListChoiceIn,
    ChangeListChoiceOut,
    ConfigIn,
    ConfigOut,
    EventTypeOut,
    HistoryFilter,
    HistoryPage,
    InPath,
    OwnNotification,
    PreferenceIn,
)
from notify.domain.preferences import NO_PREFERENCES, EventType, Preferences
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import OF_BODIES, RefusedField
from notify.intake.choosing import choose
from notify.intake.explain import traces
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import Settings, quiet
from notify.store.outbox import jobs

SWITCHES = {"enabled", "delivery_mode", "participating", "own_actions", "mentions_pierce_mutes"}
NULL_TAKES_BACK = {"email", "timezone", "paused_until"}

router = APIRouter(prefix="/api/v1/user/notification", tags=["preferences"], responses=auth.REFUSALS)


@router.get("/types")
def get_types(_: auth.Me, context: InContext) -> list[EventTypeOut]:
    """Every kind of event people can choose about."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
    return [EventTypeOut.model_validate(one) for one in event_types.values()]


@router.get("/config")
def get_config(me: auth.Me, context: InContext) -> ConfigOut:
    """What holds for the person, chosen or by default. Reading stores nothing."""
    with context.database.begin() as connection:
        return _config(connection, me, preferences.event_types(connection))


@router.put("/config", responses=OF_BODIES)
def put_config(me: auth.Me, given: Annotated[ConfigIn, Depends(JsonBody(ConfigIn))], context: InContext) -> ConfigOut:
    """Change any part of the person's choices, all of it or nothing, and return what holds now."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
        chosen = choices(given.preferences, event_types)
        choose(connection, me, settings=settings(given), chosen=chosen)
        return _config(connection, me, event_types)


@router.get("/cls")
def get_change_lists(me: auth.Me, context: InContext) -> list[ChangeListChoiceOut]:
    """Every change list that the person has muted or subscribed to, by link."""
    with context.database.begin() as connection:
        chosen = preferences.choices(connection, [me]).get(me, NO_PREFERENCES)
        return _change_lists(connection, chosen, sorted(chosen.muted_cls | chosen.subscribed_cls))


@router.put("/cls/{link:path}", responses=OF_BODIES)
def put_change_list(
    me: auth.Me,
    link: InPath,
    given: Annotated[ChangeListChoiceIn, Depends(JsonBody(ChangeListChoiceIn))],
    context: InContext,
) -> ChangeListChoiceOut:
    """Mute a change list or subscribe to it, or end either. It need not be in the directory. Safe to repeat."""
    with context.database.begin() as connection:
        if given.muted is not None:
            (preferences.mute if given.muted else preferences.unmute)(connection, me, link)
        if given.subscribed is not None:
            (preferences.subscribe if given.subscribed else preferences.unsubscribe)(connection, me, link)
        return _change_list(connection, me, link)


@router.delete("/cls/{link:path}")
def delete_change_list(me: auth.Me, link: InPath, context: InContext) -> ChangeListChoiceOut:
    """Forget what the person wants of a change list, so that their role decides again. Safe to repeat."""
    with context.database.begin() as connection:
        preferences.unmute(connection, me, link)
        preferences.unsubscribe(connection, me, link)
        return _change_list(connection, me, link)


@router.get("/history")
def get_history(me: auth.Me, asked: Annotated[HistoryFilter, Query()], context: InContext) -> HistoryPage:
    """What became of events for the person, newest first, a page at a time, each with the rules that say why."""
    with context.database.begin() as connection:
        mine, below = jobs.history(connection, me, topic=asked.topic, below=asked.cursor, limit=asked.limit)
        why = traces(connection, mine)
    notifications = [OwnNotification(**asdict(one), trace=list(why[one.id])) for one in mine]
    return HistoryPage(notifications=notifications, next_cursor=below)


def settings(given: ConfigIn) -> Settings:
    """What was given about all emails. A null is given where it means something; any other is not."""
    stated = given.model_dump(include=SWITCHES | NULL_TAKES_BACK, exclude_unset=True)
    if given.digest:
        stated |= {"digest_hour": given.digest.hour, "digest_weekday": given.digest.weekday}
    stated = {name: value for name, value in stated.items() if value is not None or name in NULL_TAKES_BACK}
    if "quiet_hours" in given.model_fields_set:
        stated |= quiet(given.quiet_hours.hours if given.quiet_hours else None)
    return cast("Settings", stated)


def choices(given: Sequence[PreferenceIn], event_types: Mapping[str, EventType]) -> dict[str, bool | None]:
    """
    What to store about each kind of event; None forgets what is stored.

    Raises:
        RefusedField: A kind is unknown, named twice, or may not be switched off.
    """
    chosen: dict[str, bool | None] = {}
    for number, one in enumerate(given):
        event_type = event_types.get(one.event_type_code)
        where = f"preferences.{number}"
        if event_type is None:
            known = ", ".join(event_types)
            raise RefusedField(f"{where}.event_type_code", f"unknown event type; known are: {known}")
        if event_type.code in chosen:
            raise RefusedField(f"{where}.event_type_code", "named twice")
        if event_type.system_required and not one.enabled:
            raise RefusedField(f"{where}.enabled", f"{event_type.code} is required and cannot be switched off")
        chosen[event_type.code] = one.choice(event_type)
    return chosen


def _change_list(connection: Connection, me: str, link: str) -> ChangeListChoiceOut:
    chosen = preferences.choices(connection, [me], topics=[link]).get(me, NO_PREFERENCES)
    (found,) = _change_lists(connection, chosen, [link])
    return found


def _change_lists(connection: Connection, chosen: Preferences, links: Sequence[str]) -> list[ChangeListChoiceOut]:
    known = directory.change_lists(connection, links)
    return [
        ChangeListChoiceOut(
            link=link,
            title=known[link].title if link in known else None,
            muted=link in chosen.muted_cls,
            subscribed=link in chosen.subscribed_cls,
        )
        for link in links
    ]


def _config(connection: Connection, me: str, event_types: dict[str, EventType]) -> ConfigOut:
    mine = preferences.config(connection, me)
    refused = directory.undeliverable(connection, me, chosen_email=mine.email)
    return ConfigOut.of(mine, event_types, undeliverable=refused)
