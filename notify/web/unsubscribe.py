"""The page that stops letters, and one-click unsubscribing. Looking changes nothing; posting does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.channels.languages import marked
from notify.channels.links import Scope, Unsubscribe
from notify.domain.preferences import NO_CHOICES, Choices, Person
from notify.http import rates
from notify.http.context import Context, InContext, InLinks
from notify.http.pages import Refusal
from notify.http.problems import OF_PAGES
from notify.store import directory, preferences
from notify.web.forms import Form, FormBody, is_of, posts

ONE_CLICK = ("List-Unsubscribe", "One-Click")
STOP = ("action", "stop")
RESUME = ("action", "resume")
ASKS = {"List-Unsubscribe": ["One-Click"], "action": ["stop", "resume"]}
FIELDS = ASKS | {"scope": [one.value for one in Scope]}
LARGEST_FORM = 8 * 1024
NOT_ASKED = marked(
    "Nothing was changed: expected List-Unsubscribe=One-Click, or the form of the page behind this link."
)
BEYOND = marked("This link does not reach what was asked for; nothing was changed.")
NO_MORE = marked("There are no letters of this kind any more.")
REQUIRED = marked("These letters are required and cannot be switched off.")


def _right(request: Request, token: str, links: InLinks) -> Unsubscribe:
    right = links.read_unsubscribe(token)
    rates.trial(request).proven = True
    return right


Posted = Annotated[Form, Depends(FormBody(LARGEST_FORM))]

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=OF_PAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one scope stops, and whether it is stopped; ``words`` are the title or the description, if known."""

    scope: Scope
    target: str
    words: str | None
    stopped: bool


@router.get("/unsubscribe/{token}")
def show(right: Annotated[Unsubscribe, Depends(_right)], context: InContext) -> HTMLResponse:
    """Say what the link stops, and offer to stop it or more. Mail scanners follow links: nothing changes."""
    return _page(context, right)


@router.post("/unsubscribe/{token}", openapi_extra=posts(FIELDS, needed=["List-Unsubscribe", "action"]))
def stop_or_resume(right: Annotated[Unsubscribe, Depends(_right)], posted: Posted, context: InContext) -> HTMLResponse:
    """
    Stop these letters at once, or send them again. Safe to repeat.

    Source: RFC 8058 §3.1 and §3.2: no login, no cookie, no redirect, no further question.
    """
    asked = RESUME in posted or STOP in posted or ONE_CLICK in posted
    if not asked or not is_of(posted, ASKS):
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_ASKED)
    return _page(context, right, change=_scope(posted, right), stop=RESUME not in posted)


def _scope(posted: Form, right: Unsubscribe) -> Scope:
    """
    What the form is about: what it names, else what the link stops.

    Raises:
        Refusal: The link does not reach what the form names.
    """
    named = {value for name, value in posted if name == "scope"} or {right.scope.value}
    reached = [one for one in right.targets if named == {one.value}]
    if not reached:
        raise Refusal(HTTPStatus.BAD_REQUEST, BEYOND)
    return reached[0]


def _page(context: Context, right: Unsubscribe, *, change: Scope | None = None, stop: bool = True) -> HTMLResponse:
    """The page as it stands, after the change if there is one."""
    with context.database.begin() as connection:
        person = directory.person(connection, right.username) or Person(username=right.username)
        _refuse_what_cannot_be_stopped(connection, right, change or right.scope, language=person.locale)
        if change is not None:
            _PUT[change](connection, right.username, right.targets[change], stop)
        chosen = preferences.choices(connection, [right.username]).get(right.username, NO_CHOICES)
        standings = _standings(connection, right, chosen)
    facts = {
        "name": person.name,
        "main": standings[change or right.scope],
        "others": [one for scope, one in standings.items() if scope is not (change or right.scope)],
        "all_off": not chosen.enabled,
        "changed": change is not None,
    }
    return context.pages.render("unsubscribe", facts, language=person.locale)


def _refuse_what_cannot_be_stopped(
    connection: Connection, right: Unsubscribe, scope: Scope, *, language: str | None
) -> None:
    if scope is not Scope.EVENT_TYPE:
        return
    event_type = preferences.event_types(connection).get(right.targets[scope])
    if event_type is None:
        raise Refusal(HTTPStatus.NOT_FOUND, NO_MORE, language=language)
    if event_type.system_required:
        raise Refusal(HTTPStatus.CONFLICT, REQUIRED, language=language)


def _standings(connection: Connection, right: Unsubscribe, chosen: Choices) -> dict[Scope, Standing]:
    """What can be stopped with this link, as it stands."""
    found = {Scope.EVERYTHING: _standing(Scope.EVERYTHING, "", None, stopped=not chosen.enabled)}
    code, link = (right.targets.get(scope) for scope in (Scope.EVENT_TYPE, Scope.CHANGE_LIST))
    event_type = preferences.event_types(connection).get(code or "")
    if code is not None and event_type is not None and not event_type.system_required:
        on = event_type.is_on(chosen.preferences.get(code))
        found[Scope.EVENT_TYPE] = _standing(Scope.EVENT_TYPE, code, event_type.description, stopped=not on)
    if link is not None:
        known = directory.change_list(connection, link)
        title = known.title if known else None
        found[Scope.CHANGE_LIST] = _standing(Scope.CHANGE_LIST, link, title, stopped=link in chosen.muted_cls)
    return {scope: found[scope] for scope in right.targets if scope in found}


def _standing(scope: Scope, target: str, words: str | None, *, stopped: bool) -> Standing:
    return Standing(scope=scope, target=target, words=words, stopped=stopped)


def _put_event_type(connection: Connection, username: str, code: str, stop: bool) -> None:
    preferences.set_preference(connection, username, code, enabled=not stop)


def _put_change_list(connection: Connection, username: str, link: str, stop: bool) -> None:
    if stop:
        preferences.mute(connection, username, link)
    else:
        preferences.unmute(connection, username, link)


def _put_everything(connection: Connection, username: str, _: str, stop: bool) -> None:
    preferences.put_config(connection, username, settings={"enabled": not stop}, preferences={})


_PUT: Mapping[Scope, Callable[[Connection, str, str, bool], None]] = MappingProxyType(
    {
        Scope.EVENT_TYPE: _put_event_type,
        Scope.CHANGE_LIST: _put_change_list,
        Scope.EVERYTHING: _put_everything,
    }
)
