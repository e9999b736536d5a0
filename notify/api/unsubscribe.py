"""The page that stops one kind of letter, and one-click unsubscribing. Looking changes nothing; posting does."""

from dataclasses import dataclass, replace
from http import HTTPStatus

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.api.context import InContext, InLinks
from notify.api.pages import Posted, posts
from notify.api.problems import OF_PAGES
from notify.api.schemas import wanted
from notify.channels.links import Scope, Unsubscribe
from notify.domain.preferences import NO_CHOICES
from notify.store import directory, preferences

ONE_CLICK = ("List-Unsubscribe", "One-Click")
STOP = ("action", "stop")
RESUME = ("action", "resume")
BODY = posts({"List-Unsubscribe": ["One-Click"], "action": ["stop", "resume"]})

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=OF_PAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a link stops, in words, and whether it is stopped."""

    name: str
    letters: str
    description: str | None
    stopped: bool


@router.get("/unsubscribe/{token}")
def show(token: str, links: InLinks, context: InContext) -> HTMLResponse:
    """Say what the link stops, and offer to stop it. Mail scanners follow links: nothing changes."""
    right = links.read_unsubscribe(token)
    with context.database.begin() as connection:
        standing = _standing(connection, right)
    return context.pages.render("unsubscribe", {"standing": standing, "changed": False})


@router.post("/unsubscribe/{token}", openapi_extra=BODY)
def stop_or_resume(token: str, posted: Posted, links: InLinks, context: InContext) -> HTMLResponse:
    """
    Stop these letters at once, or send them again. Safe to repeat.

    Source: RFC 8058 §3.1 and §3.2: no login, no cookie, no redirect, no further question.
    """
    right = links.read_unsubscribe(token)
    if RESUME not in posted and STOP not in posted and ONE_CLICK not in posted:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "expected List-Unsubscribe=One-Click")
    with context.database.begin() as connection:
        standing = replace(_standing(connection, right), stopped=RESUME not in posted)
        _put(connection, right, stopped=standing.stopped)
    return context.pages.render("unsubscribe", {"standing": standing, "changed": True})


def _standing(connection: Connection, right: Unsubscribe) -> Standing:
    """
    Raises:
        HTTPException: There is nothing that the link could stop.
    """
    person = directory.person(connection, right.username)
    name = person.name if person else right.username
    chosen = preferences.choices(connection, [right.username]).get(right.username, NO_CHOICES)
    if right.scope is Scope.CHANGE_LIST:
        known = directory.change_list(connection, right.target)
        title = known.title if known else None
        muted = right.target in chosen.muted_cls
        return Standing(name=name, letters=f"letters about {right.target}", description=title, stopped=muted)
    event_type = preferences.event_types(connection).get(right.target)
    if event_type is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There are no letters of this kind any more.")
    if event_type.system_required:
        raise HTTPException(HTTPStatus.CONFLICT, "These letters are required and cannot be switched off.")
    on = wanted(event_type, chosen.preferences.get(event_type.code))
    return Standing(name=name, letters="letters of this kind", description=event_type.description, stopped=not on)


def _put(connection: Connection, right: Unsubscribe, *, stopped: bool) -> None:
    if right.scope is Scope.EVENT_TYPE:
        preferences.set_preference(connection, right.username, right.target, enabled=not stopped)
    elif stopped:
        preferences.mute(connection, right.username, right.target)
    else:
        preferences.unmute(connection, right.username, right.target)
