"""The page with every choice of one person, reached from a letter without logging in."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.api.context import InContext, InLinks
from notify.api.pages import Form, Posted, posts
from notify.api.problems import OF_PAGES
from notify.api.schemas import wanted
from notify.domain.preferences import NO_CHOICES, Choices, EventType
from notify.store import directory, preferences

SAVE = ("save", "yes")
ENABLED = ("enabled", "on")
BODY = posts({"save": ["yes"], "enabled": ["on"]})

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=OF_PAGES)


@router.get("/preferences/{token}")
def show(token: str, links: InLinks, context: InContext) -> HTMLResponse:
    """Every choice of the person, as it stands."""
    owner = links.read_preferences(token)
    with context.database.begin() as connection:
        facts = _facts(connection, owner)
    return context.pages.render("preferences", {**facts, "saved": False})


@router.post("/preferences/{token}", openapi_extra=BODY)
def save(token: str, posted: Posted, links: InLinks, context: InContext) -> HTMLResponse:
    """Store what the form says, and show what holds now."""
    owner = links.read_preferences(token)
    if SAVE not in posted:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "expected the form of this page")
    with context.database.begin() as connection:
        _save(connection, owner, posted)
        facts = _facts(connection, owner)
    return context.pages.render("preferences", {**facts, "saved": True})


def changed(
    posted: Form, *, event_types: Mapping[str, EventType], chosen: Mapping[str, bool]
) -> dict[str, bool | None]:
    """The choices that the form makes otherwise than they stand; what the form did not show is left alone."""
    on = _values(posted, "type")
    shown = [event_types[code] for code in _values(posted, "shown_type") if code in event_types]
    return {
        one.code: one.code in on
        for one in shown
        if not one.system_required and (one.code in on) != wanted(one, chosen.get(one.code))
    }


def _save(connection: Connection, username: str, posted: Form) -> None:
    chosen = preferences.config(connection, username).choices.preferences
    preferences.put_config(
        connection,
        username,
        settings={"enabled": ENABLED in posted},
        preferences=changed(posted, event_types=preferences.event_types(connection), chosen=chosen),
    )
    preferences.unmute(connection, username, *(_values(posted, "shown_muted") - _values(posted, "muted")))


def _facts(connection: Connection, username: str) -> dict[str, object]:
    """What the page shows."""
    choices = preferences.choices(connection, [username]).get(username, NO_CHOICES)
    person = directory.person(connection, username)
    titles = directory.change_lists(connection, choices.muted_cls)
    return {
        "name": person.name if person else username,
        "enabled": choices.enabled,
        "undeliverable": directory.undeliverable(connection, username, chosen_email=choices.email),
        "categories": _by_category(preferences.event_types(connection).values(), choices),
        "muted": [
            {"link": link, "title": titles[link].title if link in titles else None}
            for link in sorted(choices.muted_cls)
        ],
    }


def _by_category(event_types: Iterable[EventType], choices: Choices) -> list[tuple[str, list[dict[str, Any]]]]:
    ordered = sorted(event_types, key=lambda one: (one.category, one.code))
    return [
        (category, [_choice(one, choices) for one in members])
        for category, members in groupby(ordered, key=lambda one: one.category)
    ]


def _choice(event_type: EventType, choices: Choices) -> dict[str, object]:
    return {
        "code": event_type.code,
        "description": event_type.description,
        "required": event_type.system_required,
        "enabled": wanted(event_type, choices.preferences.get(event_type.code)),
    }


def _values(posted: Form, field: str) -> set[str]:
    return {value for name, value in posted if name == field}
