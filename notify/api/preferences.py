"""A person's own choices."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from sqlalchemy import Connection

from notify.api import auth
from notify.api.context import InContext
from notify.api.problems import OF_BODIES, RefusedField
from notify.api.schemas import ConfigIn, ConfigOut, EventTypeOut, PreferenceIn
from notify.domain.preferences import EventType
from notify.store import directory, preferences
from notify.store.preferences import Settings

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
def put_config(me: auth.Me, given: ConfigIn, context: InContext) -> ConfigOut:
    """Change any part of the person's choices, all of it or nothing, and return what holds now."""
    with context.database.begin() as connection:
        event_types = preferences.event_types(connection)
        chosen = choices(given.preferences, event_types)
        preferences.put_config(connection, me, settings=settings(given), preferences=chosen)
        return _config(connection, me, event_types)


def settings(given: ConfigIn) -> Settings:
    """What was given about all letters. An email of null is given; any other null is not."""
    stated = Settings()
    if given.enabled is not None:
        stated["enabled"] = given.enabled
    if given.delivery_mode is not None:
        stated["delivery_mode"] = given.delivery_mode
    if "email" in given.model_fields_set:
        stated["email"] = given.email
    return stated


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


def _config(connection: Connection, me: str, event_types: dict[str, EventType]) -> ConfigOut:
    config = preferences.config(connection, me)
    refused = directory.undeliverable(connection, me, chosen_email=config.choices.email)
    return ConfigOut.of(config, event_types, undeliverable=refused)
