"""The unsubscribe page and one-click unsubscribing. GET changes nothing; POST does."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.channels.languages import marked
from notify.channels.links import Scope, SignedLinks, Unsubscribe
from notify.domain.preferences import EventType, Person, Preferences
from notify.domain.queue_events import queue_of
from notify.http import call_limits
from notify.http.context import Context, InContext, InLinks
from notify.http.pages import PAGE_RESPONSES, Refusal
from notify.store.directory import directory, preferences
from notify.web.forms import Form, FormBody, is_of, posts, values

ASKS = {"List-Unsubscribe": ["One-Click"], "action": ["stop", "resume"]}
FIELDS = ASKS | {"scope": [one.value for one in Scope]}
LARGEST_FORM = 8 * 1024
NOT_ASKED = marked(
    "Nothing was changed: expected List-Unsubscribe=One-Click, or the form of the page behind this link."
)
BEYOND = marked("This link cannot stop that; nothing was changed.")
NO_MORE = marked("There are no emails of this kind any more.")
REQUIRED = marked("These emails are required and cannot be switched off.")


async def _right(request: Request, token: str, links: InLinks) -> Unsubscribe:
    async with call_limits.key_check(request):
        return links.read_unsubscribe(token)


Posted = Annotated[Form, Depends(FormBody(LARGEST_FORM))]

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=PAGE_RESPONSES)


@dataclass(frozen=True, slots=True)
class Stoppable:
    """
    What one scope stops, and whether it is stopped.

    Args:
        words: The title or the description, if known.
        queue: The name of the queue that it is about; None: it is about something else.
    """

    scope: Scope
    target: str
    words: str | None
    stopped: bool
    queue: str | None = None


@router.get("/unsubscribe/{token}", operation_id="showUnsubscribePage")
def show(right: Annotated[Unsubscribe, Depends(_right)], context: InContext, links: InLinks) -> HTMLResponse:
    """
    Show the unsubscribe page.

    It changes nothing, since mail scanners follow links.
    """
    return _page(context, links, right, right.scope)


@router.post(
    "/unsubscribe/{token}",
    operation_id="unsubscribe",
    openapi_extra=posts(FIELDS, needed=["List-Unsubscribe", "action"]),
)
def stop_or_resume(
    right: Annotated[Unsubscribe, Depends(_right)], posted: Posted, context: InContext, links: InLinks
) -> HTMLResponse:
    """
    Stop these emails, or resume them.

    Safe to repeat.

    Source: RFC 8058 §3.1 and §3.2: no login, no cookie, no redirect, no further question.
    """
    if not any(name in ASKS for name, _ in posted) or not is_of(posted, ASKS):
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_ASKED)
    named = values(posted, "scope") or {right.scope.value}
    reached = [one for one in right.targets if named == {one.value}]
    if not reached:
        raise Refusal(HTTPStatus.BAD_REQUEST, BEYOND)
    return _page(context, links, right, reached[0], stop=("action", "resume") not in posted)


def _page(
    context: Context, links: SignedLinks, right: Unsubscribe, scope: Scope, *, stop: bool | None = None
) -> HTMLResponse:
    """
    The page about one scope as it stands.

    Args:
        stop: Whether to stop it first or to resume it; None: the page is only looked at.
    """
    settings_url = _settings_url(links, right.username)
    with context.database.begin() as connection:
        person = directory.person(connection, right.username) or Person(username=right.username)
        event_types = preferences.event_types(connection)
        if scope is Scope.EVENT_TYPE:
            _refuse_what_cannot_be_stopped(event_types.get(right.targets[scope]), person.locale, settings_url)
        if stop is not None:
            _put(connection, right, scope, stop=stop)
        chosen = preferences.config(connection, right.username)
        found = {one: _stoppable(connection, right, one, event_types, chosen) for one in right.targets}
    facts = {
        "name": person.name,
        "main": found[scope],
        "others": [one for other, one in found.items() if one and other is not scope],
        "all_off": not chosen.enabled,
        "changed": stop is not None,
        "settings_url": settings_url,
    }
    return context.pages.render("unsubscribe", facts, language=person.locale)


def _settings_url(links: SignedLinks, username: str) -> str:
    """The person's preferences page, relative to this one, so that it holds behind any path prefix."""
    return f"../preferences/{links.preferences(username).rpartition('/')[2]}"


def _refuse_what_cannot_be_stopped(event_type: EventType | None, language: str | None, settings_url: str) -> None:
    if event_type is None:
        raise Refusal(HTTPStatus.NOT_FOUND, NO_MORE, language=language, settings_url=settings_url)
    if event_type.system_required:
        raise Refusal(HTTPStatus.CONFLICT, REQUIRED, language=language, settings_url=settings_url)


def _put(connection: Connection, right: Unsubscribe, scope: Scope, *, stop: bool) -> None:
    me, target = right.username, right.targets[scope]
    match scope:
        case Scope.EVENT_TYPE:
            preferences.set_preference(connection, me, target, enabled=not stop)
        case Scope.CHANGE_LIST:
            (preferences.mute if stop else preferences.unmute)(connection, me, target)
        case Scope.EVERYTHING:
            preferences.put_config(connection, me, settings={"enabled": not stop}, preferences={})


def _stoppable(
    connection: Connection, right: Unsubscribe, scope: Scope, event_types: Mapping[str, EventType], chosen: Preferences
) -> Stoppable | None:
    """What the scope of this link stops, as it stands; None: nothing that can be stopped."""
    target = right.targets[scope]
    match scope:
        case Scope.EVENT_TYPE:
            kind = event_types.get(target)
            if kind is None or kind.system_required:
                return None
            return Stoppable(scope, target, kind.description, not kind.is_on(chosen.preferences.get(target)))
        case Scope.CHANGE_LIST:
            known = directory.change_list(connection, target)
            title = known.title if known else None
            return Stoppable(scope, target, title, target in chosen.muted_cls, queue=queue_of(target))
        case Scope.EVERYTHING:
            return Stoppable(scope, "", None, not chosen.enabled)
