"""One person's own preferences and history."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Annotated, Self, cast

from fastapi import APIRouter, Depends, Query
from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator
from sqlalchemy import Connection

from notify.api import examples, schemas
from notify.api.schemas import (
    WHOLE,
    Address,
    Cursor,
    ExplainedNotification,
    Instant,
    Limit,
    Timezone,
    Topic,
    View,
    Weekday,
    explained,
)
from notify.domain.preferences import NO_PREFERENCES, EventType, Preferences
from notify.domain.schedule import Mode, QuietHours
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import BODY_RESPONSES, RefusedField
from notify.intake.save_preferences import save_preferences
from notify.intake.schema import Name, Strict
from notify.store.directory import directory, preferences
from notify.store.directory.directory import AddressRefusal
from notify.store.directory.preferences import StoredSettings, quiet_columns
from notify.store.outbox import jobs

WallTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ENABLED = "The master switch. While it is off, only required emails are sent."
DELIVERY_MODE = "`realtime`: every email at once. Otherwise emails are combined into a digest."
PARTICIPATING = "Emails about change lists that the person has commented on."
OWN_ACTIONS = "Emails about the person's own actions."
MENTIONS_PIERCE_MUTES = "Emails about mentions, even on muted change lists."
SWITCHES = {"enabled", "delivery_mode", "participating", "own_actions", "mentions_pierce_mutes"}
NULL_RESETS = {"email", "timezone", "paused_until"}

router = APIRouter(prefix="/api/v1/user/notification", tags=["preferences"], responses=auth.REFUSALS)


class HistoryPage(View):
    """A person's notifications, newest first."""

    notifications: list[ExplainedNotification]
    next_cursor: int | None = Field(description="Where the next page begins. Null: no more.")


class HistoryFilter(Strict):
    """Which of the person's notifications to list."""

    topic: Name | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class EventTypeOut(View):
    """An event type that people can switch on and off."""

    code: str
    category: str
    description: str
    system_required: bool = Field(description="It cannot be switched off.")
    default_enabled: bool = Field(description="Whether it is on for people who have stored no preference.")


class PreferenceIn(Strict):
    """A preference for one event type."""

    event_type_code: Name
    enabled: StrictBool
    overridden: StrictBool | None = Field(
        default=None,
        description="False, with `enabled` at its default: forget the preference. Otherwise it is stored.",
    )


class PreferenceOut(View):
    """Whether one event type is on for the person."""

    event_type_code: str
    enabled: bool
    overridden: bool = Field(description="Whether the person has stored this. False: it is the default.")


class DigestTime(Strict):
    """When digests are sent, in the person's time zone. Absent and null fields keep their value."""

    hour: Annotated[StrictInt, Field(ge=0, le=23), WHOLE] | None = Field(
        default=None, description="Of the daily and the weekly digest."
    )
    weekday: Weekday | None = Field(default=None, description="Of the weekly digest. 1 is Monday.")


class QuietPeriod(Strict):
    """Hours without emails, in the person's time zone."""

    days: list[Weekday] = Field(min_length=1, max_length=7, description="Days on which they begin. 1 is Monday.")
    start: WallTime = Field(examples=["22:00"])
    end: WallTime = Field(description="The next day if before `start`. Must differ from it.", examples=["07:00"])

    @field_validator("end")
    @classmethod
    def _another(cls, end: str, info: ValidationInfo) -> str:
        if end == info.data.get("start"):
            msg = "expected a time that differs from start"
            raise ValueError(msg)
        return end

    def hours(self) -> QuietHours:
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        return QuietHours(days=frozenset(self.days), start=start, end=end)

    @classmethod
    def of(cls, hours: QuietHours) -> Self:
        return cls(days=sorted(hours.days), start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}")


class ConfigIn(Strict):
    """Any subset of a person's preferences. Absent fields keep their value, and so do null ones unless stated."""

    enabled: StrictBool | None = Field(default=None, description=ENABLED)
    delivery_mode: Mode | None = Field(default=None, description=DELIVERY_MODE)
    digest: DigestTime | None = None
    timezone: Timezone | None = Field(
        default=None, description="IANA time zone. Null: use the directory's.", examples=["Europe/Berlin"]
    )
    quiet_hours: QuietPeriod | None = Field(default=None, description="Null: none.")
    paused_until: Instant | None = Field(default=None, description="No emails until then. Null: end the pause.")
    email: Address | None = Field(default=None, description="Where emails go. Null: use the directory's address.")
    participating: StrictBool | None = Field(default=None, description=PARTICIPATING)
    own_actions: StrictBool | None = Field(default=None, description=OWN_ACTIONS)
    mentions_pierce_mutes: StrictBool | None = Field(default=None, description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceIn] = Field(default=[], max_length=200, fail_fast=True)
    undeliverable: AddressRefusal | None = Field(
        default=None, description="Ignored. Accepted so that a response can be sent back."
    )


class ConfigOut(View):
    """A person's preferences."""

    enabled: bool = Field(description=ENABLED)
    delivery_mode: Mode = Field(description=DELIVERY_MODE)
    digest: DigestTime
    timezone: str | None = Field(description="The person's choice. Null: the directory's.")
    quiet_hours: QuietPeriod | None = Field(description="Null: none.")
    paused_until: datetime | None = Field(description="No emails until then. Null: not paused.")
    email: str | None = Field(description="The person's choice. Null: the directory's.")
    participating: bool = Field(description=PARTICIPATING)
    own_actions: bool = Field(description=OWN_ACTIONS)
    mentions_pierce_mutes: bool = Field(description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceOut]
    undeliverable: AddressRefusal | None = Field(
        description="Why emails to this person have stopped. Null: they have not."
    )

    @classmethod
    def of(
        cls, stored: Preferences, event_types: dict[str, EventType], *, undeliverable: AddressRefusal | None
    ) -> Self:
        by_type, schedule = stored.preferences, stored.schedule
        return cls(
            enabled=stored.enabled,
            delivery_mode=schedule.mode,
            digest=DigestTime(hour=schedule.hour, weekday=schedule.weekday),
            timezone=schedule.timezone,
            quiet_hours=QuietPeriod.of(schedule.quiet_hours) if schedule.quiet_hours else None,
            paused_until=schedule.paused_until,
            email=stored.email,
            participating=stored.participating,
            own_actions=stored.own_actions,
            mentions_pierce_mutes=stored.mentions_pierce_mutes,
            preferences=[
                PreferenceOut(
                    event_type_code=code,
                    enabled=event_type.is_on(by_type.get(code)),
                    overridden=code in by_type and not event_type.system_required,
                )
                for code, event_type in event_types.items()
            ],
            undeliverable=undeliverable,
        )


class ChangeListPreferenceIn(Strict):
    """A person's preference for one change list or queue. Absent and null fields keep their value."""

    muted: StrictBool | None = Field(default=None, description="No emails about it, whatever the person's role.")
    subscribed: StrictBool | None = Field(
        default=None, description="Emails about it, whatever the person's role, unless muted."
    )


class ChangeListPreferenceOut(View):
    """A person's preference for one change list or queue."""

    link: str = Field(description=schemas.TOPIC)
    title: str | None = Field(description="Null: the directory knows no such change list.")
    muted: bool
    subscribed: bool


@router.get("/types")
def list_event_types(_: auth.Me, context: InContext) -> list[EventTypeOut]:
    """List the event types that people can switch on and off."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
    return [EventTypeOut.model_validate(one) for one in event_types.values()]


@router.get("/config")
def get_preferences(me: auth.Me, context: InContext) -> ConfigOut:
    """
    Show the person's preferences.

    Shows the default where nothing is stored. Reading stores nothing.
    """
    with context.database.begin() as connection:
        return _config(connection, me, preferences.event_types(connection))


@router.put("/config", responses=BODY_RESPONSES)
def update_preferences(
    me: auth.Me,
    given: Annotated[ConfigIn, Depends(JsonBody(ConfigIn, example=examples.PREFERENCES))],
    context: InContext,
) -> ConfigOut:
    """
    Change the person's preferences.

    Takes any subset of the fields and stores all of them or none. Returns the preferences after the change.
    """
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
        chosen = _by_type(given.preferences, event_types)
        save_preferences(connection, me, settings=_settings(given), event_types=chosen)
        return _config(connection, me, event_types)


@router.get("/cls")
def list_change_list_preferences(me: auth.Me, context: InContext) -> list[ChangeListPreferenceOut]:
    """List the change lists and queues that the person has muted or subscribed to."""
    with context.database.begin() as connection:
        chosen = preferences.load(connection, [me]).get(me, NO_PREFERENCES)
        return _change_lists(connection, chosen, sorted(chosen.muted_cls | chosen.subscribed_cls))


@router.put("/cls/{link:path}", responses=BODY_RESPONSES)
def update_change_list_preference(
    me: auth.Me,
    link: Topic,
    given: Annotated[ChangeListPreferenceIn, Depends(JsonBody(ChangeListPreferenceIn, example=examples.MUTE))],
    context: InContext,
) -> ChangeListPreferenceOut:
    """
    Mute or subscribe to a change list or a queue, or undo either.

    The directory need not know it. Safe to repeat.
    """
    with context.database.begin() as connection:
        if given.muted is not None:
            (preferences.mute if given.muted else preferences.unmute)(connection, me, link)
        if given.subscribed is not None:
            (preferences.subscribe if given.subscribed else preferences.unsubscribe)(connection, me, link)
        return _change_list(connection, me, link)


@router.delete("/cls/{link:path}")
def reset_change_list_preference(me: auth.Me, link: Topic, context: InContext) -> ChangeListPreferenceOut:
    """
    Forget the person's preference for a change list or a queue.

    Their role decides again. Safe to repeat.
    """
    with context.database.begin() as connection:
        preferences.unmute(connection, me, link)
        preferences.unsubscribe(connection, me, link)
        return _change_list(connection, me, link)


@router.get("/history")
def list_history(me: auth.Me, asked: Annotated[HistoryFilter, Query()], context: InContext) -> HistoryPage:
    """
    List the person's notifications, newest first.

    Each comes with the rules that decide, evaluated now.
    """
    with context.database.begin() as connection:
        mine, below = jobs.history(connection, me, topic=asked.topic, below=asked.cursor, limit=asked.limit)
        return HistoryPage(notifications=explained(connection, mine), next_cursor=below)


def _settings(given: ConfigIn) -> StoredSettings:
    """The settings to store. Null is stored only where it resets a preference."""
    stated = given.model_dump(include=SWITCHES | NULL_RESETS, exclude_unset=True)
    if given.digest:
        stated |= {"digest_hour": given.digest.hour, "digest_weekday": given.digest.weekday}
    stated = {name: value for name, value in stated.items() if value is not None or name in NULL_RESETS}
    if "quiet_hours" in given.model_fields_set:
        stated |= quiet_columns(given.quiet_hours.hours() if given.quiet_hours else None)
    return cast("StoredSettings", stated)


def _by_type(given: Sequence[PreferenceIn], event_types: Mapping[str, EventType]) -> dict[str, bool | None]:
    """
    What to store for each event type. None forgets what is stored.

    Raises:
        RefusedField: A type is unknown, named twice, or cannot be switched off.
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
        is_forgotten = one.overridden is False and one.enabled == event_type.default_enabled
        chosen[event_type.code] = None if is_forgotten else one.enabled
    return chosen


def _change_list(connection: Connection, me: str, link: str) -> ChangeListPreferenceOut:
    chosen = preferences.load(connection, [me], topics=[link]).get(me, NO_PREFERENCES)
    (found,) = _change_lists(connection, chosen, [link])
    return found


def _change_lists(connection: Connection, chosen: Preferences, links: Sequence[str]) -> list[ChangeListPreferenceOut]:
    known = directory.change_lists(connection, links)
    return [
        ChangeListPreferenceOut(
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
