"""One person's preferences, and what became of events for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Annotated, Self, cast

from fastapi import APIRouter, Depends, Query
from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator
from sqlalchemy import Connection

from notify.api.schemas import (
    Address,
    Cursor,
    ExplainedNotification,
    InPath,
    Instant,
    Limit,
    Timezone,
    View,
    explained,
)
from notify.domain.preferences import NO_PREFERENCES, EventType, Preferences
from notify.domain.schedule import Mode, QuietHours
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import OF_BODIES, RefusedField
from notify.intake.choosing import choose
from notify.intake.schema import Name, Strict
from notify.store.directory import directory, preferences
from notify.store.directory.directory import Refusal
from notify.store.directory.preferences import Settings, quiet
from notify.store.outbox import jobs

Weekday = Annotated[StrictInt, Field(ge=1, le=7)]
WallTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ENABLED = "The master switch: only required emails come while it is off."
DELIVERY_MODE = "Emails at once, or together at the hour of a digest."
PARTICIPATING = "Emails about change lists on which the person has said something."
OWN_ACTIONS = "Emails about what the person does themselves."
MENTIONS_PIERCE_MUTES = "A mention reaches the person on a change list that they have muted."
SWITCHES = {"enabled", "delivery_mode", "participating", "own_actions", "mentions_pierce_mutes"}
NULL_TAKES_BACK = {"email", "timezone", "paused_until"}

router = APIRouter(prefix="/api/v1/user/notification", tags=["preferences"], responses=auth.REFUSALS)


class HistoryPage(View):
    """A person's notifications, newest first."""

    notifications: list[ExplainedNotification]
    next_cursor: int | None = Field(description="Where the next page begins; null: this is the last.")


class HistoryFilter(Strict):
    """Which of the person's notifications to list, and from where."""

    topic: Name | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class EventTypeOut(View):
    """One kind of event people can choose about."""

    code: str
    category: str
    description: str
    system_required: bool = Field(description="Nobody can switch it off.")
    default_enabled: bool = Field(description="What holds for people who have stored nothing.")


class PreferenceIn(Strict):
    """A preference for one event type."""

    event_type_code: Name
    enabled: StrictBool
    overridden: StrictBool | None = Field(
        default=None,
        description="False, together with the default of the type: forget the preference. Else it is stored.",
    )


class PreferenceOut(View):
    """What holds for one kind of event."""

    event_type_code: str
    enabled: bool
    overridden: bool = Field(description="The person has stored this; false: it is the default.")


class Digest(Strict):
    """When digests come, by the person's clock; what is absent or null stays as it is."""

    hour: Annotated[StrictInt, Field(ge=0, le=23)] | None = Field(default=None, description="Unless it is hourly.")
    weekday: Weekday | None = Field(default=None, description="Of the weekly digest; 1 is Monday.")


class Quiet(Strict):
    """Hours in which no email comes, by the person's clock."""

    days: list[Weekday] = Field(min_length=1, max_length=7, description="On which they begin; 1 is Monday.")
    start: WallTime = Field(examples=["22:00"])
    end: WallTime = Field(description="The next day, if it is before the start. Never the same.", examples=["07:00"])

    @field_validator("end")
    @classmethod
    def _another(cls, end: str, info: ValidationInfo) -> str:
        if end == info.data.get("start"):
            msg = "expected another time than start"
            raise ValueError(msg)
        return end

    def hours(self) -> QuietHours:
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        return QuietHours(days=frozenset(self.days), start=start, end=end)

    @classmethod
    def of(cls, hours: QuietHours) -> Self:
        return cls(days=sorted(hours.days), start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}")


class ConfigIn(Strict):
    """Any part of a person's preferences. Absent fields stay as they are, and so do null ones that have no meaning."""

    enabled: StrictBool | None = Field(default=None, description=ENABLED)
    delivery_mode: Mode | None = Field(default=None, description=DELIVERY_MODE)
    digest: Digest | None = None
    timezone: Timezone | None = Field(
        default=None, description="IANA time zone. Null: the directory's again.", examples=["Europe/Berlin"]
    )
    quiet_hours: Quiet | None = Field(default=None, description="Null: none any more.")
    paused_until: Instant | None = Field(default=None, description="No email before it. Null: not paused any more.")
    email: Address | None = Field(default=None, description="Where emails go. Null: the directory's address again.")
    participating: StrictBool | None = Field(default=None, description=PARTICIPATING)
    own_actions: StrictBool | None = Field(default=None, description=OWN_ACTIONS)
    mentions_pierce_mutes: StrictBool | None = Field(default=None, description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceIn] = Field(default=[], max_length=200, fail_fast=True)
    undeliverable: Refusal | None = Field(
        default=None, description="Changes nothing; taken so that what was read can be put back."
    )


class ConfigOut(View):
    """A person's preferences."""

    enabled: bool = Field(description=ENABLED)
    delivery_mode: Mode = Field(description=DELIVERY_MODE)
    digest: Digest
    timezone: str | None = Field(description="The person's own; null: the directory's.")
    quiet_hours: Quiet | None = Field(description="Null: none.")
    paused_until: datetime | None = Field(description="No email before it; null: not paused.")
    email: str | None = Field(description="The person's own; null: the directory's address.")
    participating: bool = Field(description=PARTICIPATING)
    own_actions: bool = Field(description=OWN_ACTIONS)
    mentions_pierce_mutes: bool = Field(description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceOut]
    undeliverable: Refusal | None = Field(description="Why emails have stopped; null: they have not.")

    @classmethod
    def of(cls, stored: Preferences, event_types: dict[str, EventType], *, undeliverable: Refusal | None) -> Self:
        by_type, schedule = stored.preferences, stored.schedule
        return cls(
            enabled=stored.enabled,
            delivery_mode=schedule.mode,
            digest=Digest(hour=schedule.hour, weekday=schedule.weekday),
            timezone=schedule.timezone,
            quiet_hours=Quiet.of(schedule.quiet_hours) if schedule.quiet_hours else None,
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


class ChangeListChoiceIn(Strict):
    """What a person wants of one change list; what is absent or null stays as it is."""

    muted: StrictBool | None = Field(default=None, description="No emails about it, whatever the role.")
    subscribed: StrictBool | None = Field(default=None, description="Emails about it, whatever the role, unless muted.")


class ChangeListChoiceOut(View):
    """What a person wants of one change list."""

    link: str
    title: str | None = Field(description="Null: the directory does not know it.")
    muted: bool
    subscribed: bool


@router.get("/types")
def get_types(_: auth.Me, context: InContext) -> list[EventTypeOut]:
    """Every kind of event people can choose about."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
    return [EventTypeOut.model_validate(one) for one in event_types.values()]


@router.get("/config")
def get_config(me: auth.Me, context: InContext) -> ConfigOut:
    """The preferences that hold for the person, stored or by default. Reading stores nothing."""
    with context.database.begin() as connection:
        return _config(connection, me, preferences.event_types(connection))


@router.put("/config", responses=OF_BODIES)
def put_config(me: auth.Me, given: Annotated[ConfigIn, Depends(JsonBody(ConfigIn))], context: InContext) -> ConfigOut:
    """Change any part of the person's preferences, all of it or nothing, and return what holds now."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
        chosen = _choices(given.preferences, event_types)
        choose(connection, me, settings=_settings(given), chosen=chosen)
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
        return HistoryPage(notifications=explained(connection, mine), next_cursor=below)


def _settings(given: ConfigIn) -> Settings:
    """What the call says about all emails; a null counts only where it takes a preference back."""
    stated = given.model_dump(include=SWITCHES | NULL_TAKES_BACK, exclude_unset=True)
    if given.digest:
        stated |= {"digest_hour": given.digest.hour, "digest_weekday": given.digest.weekday}
    stated = {name: value for name, value in stated.items() if value is not None or name in NULL_TAKES_BACK}
    if "quiet_hours" in given.model_fields_set:
        stated |= quiet(given.quiet_hours.hours() if given.quiet_hours else None)
    return cast("Settings", stated)


def _choices(given: Sequence[PreferenceIn], event_types: Mapping[str, EventType]) -> dict[str, bool | None]:
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
        is_forgotten = one.overridden is False and one.enabled == event_type.default_enabled
        chosen[event_type.code] = None if is_forgotten else one.enabled
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
