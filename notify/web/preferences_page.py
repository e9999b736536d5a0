"""The page with every choice of one person, reached from a letter without logging in."""

from collections.abc import Iterable, Mapping
from gettext import NullTranslations
from http import HTTPStatus
from itertools import groupby
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.channels.languages import marked, moment
from notify.domain.events import ChangeList
from notify.domain.preferences import NO_CHOICES, Choices, EventType, Person
from notify.http import auth, rates
from notify.http.context import Context, InContext, InLinks
from notify.http.pages import Pages, Refusal
from notify.http.problems import OF_PAGES, documented
from notify.intake.choosing import choose
from notify.store import directory, preferences
from notify.store.preferences import Settings
from notify.web import schedule_form
from notify.web.forms import Form, FormBody, is_of, posts

SAVE = ("save", "yes")
ENABLED = ("enabled", "on")
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "participating": marked("Letters about change lists on which you have said something."),
        "own_actions": marked("Letters about what you do yourself."),
        "mentions_pierce_mutes": marked("Letters when you are mentioned, even about muted change lists."),
    }
)
LARGEST_FORM = 256 * 1024
FIELDS = {"save": ["yes"], "enabled": ["on"]}
BODY = posts(FIELDS, needed=["save"])


def _reader(request: Request, token: str, links: InLinks) -> str:
    username = links.read_preferences(token)
    rates.trial(request).proven = True
    return username


Posted = Annotated[Form, Depends(FormBody(LARGEST_FORM))]

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=OF_PAGES)
mine = APIRouter(
    tags=["pages"],
    default_response_class=HTMLResponse,
    responses={
        **auth.REFUSALS,
        **documented(
            HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        ),
        int(HTTPStatus.BAD_REQUEST): OF_PAGES[int(HTTPStatus.BAD_REQUEST)],
    },
)


@router.get("/preferences/{token}")
def show(me: Annotated[str, Depends(_reader)], context: InContext) -> HTMLResponse:
    """Every choice of the person, as it stands."""
    return _shown(context, me)


@router.post("/preferences/{token}", openapi_extra=BODY)
def save(me: Annotated[str, Depends(_reader)], posted: Posted, context: InContext) -> HTMLResponse:
    """Store what the form says, and show what was changed and what holds now."""
    return _saved(context, me, posted)


@mine.get("/preferences")
def show_mine(me: auth.Me, context: InContext) -> HTMLResponse:
    """The same page for the person whose JWT it is, so that an application can show it."""
    return _shown(context, me)


@mine.post("/preferences", openapi_extra=BODY)
def save_mine(me: auth.Me, posted: Posted, context: InContext) -> HTMLResponse:
    """Store what the form says, and show what was changed and what holds now."""
    return _saved(context, me, posted)


def changed(
    posted: Form, *, event_types: Mapping[str, EventType], chosen: Mapping[str, bool]
) -> dict[str, bool | None]:
    """The choices that the form makes otherwise than they stand; what the form did not show is left alone."""
    on = _values(posted, "type")
    shown = [event_types[code] for code in _values(posted, "shown_type") if code in event_types]
    return {
        one.code: one.code in on
        for one in shown
        if not one.system_required and (one.code in on) != one.is_on(chosen.get(one.code))
    }


def _shown(context: Context, username: str) -> HTMLResponse:
    with context.database.begin() as connection:
        return _page(context.pages, connection, username, before=None)


def _saved(context: Context, username: str, posted: Form) -> HTMLResponse:
    if SAVE not in posted or not is_of(posted, FIELDS):
        raise Refusal(HTTPStatus.BAD_REQUEST, schedule_form.NOT_THE_FORM)
    with context.database.begin() as connection:
        before = _save(connection, username, posted)
        return _page(context.pages, connection, username, before=before)


def _save(connection: Connection, username: str, posted: Form) -> Choices:
    """Store what the form says, and return what held before."""
    before = preferences.config(connection, username)
    person = directory.person(connection, username) or Person(username=username)
    when = schedule_form.settings(posted, before=before.schedule, person=person)
    event_types = preferences.event_types(connection)
    choose(
        connection,
        username,
        settings=_settings(posted) | when,
        chosen=changed(posted, event_types=event_types, chosen=before.preferences),
    )
    preferences.unmute(connection, username, *_unticked(posted, "muted"))
    preferences.unsubscribe(connection, username, *_unticked(posted, "subscribed"))
    return before


def _unticked(posted: Form, field: str) -> set[str]:
    """What the form showed with a mark that is gone."""
    return _values(posted, f"shown_{field}") - _values(posted, field)


def _settings(posted: Form) -> Settings:
    """What the form says about all letters; options that it did not show are left alone."""
    on, shown = _values(posted, "option"), _values(posted, "shown_option")
    stated = Settings(enabled=ENABLED in posted)
    if "participating" in shown:
        stated["participating"] = "participating" in on
    if "own_actions" in shown:
        stated["own_actions"] = "own_actions" in on
    if "mentions_pierce_mutes" in shown:
        stated["mentions_pierce_mutes"] = "mentions_pierce_mutes" in on
    return stated


def _page(pages: Pages, connection: Connection, username: str, *, before: Choices | None) -> HTMLResponse:
    """
    The page as it stands.

    Args:
        before: What held before the form was stored; None when the page is only looked at.
    """
    now = preferences.choices(connection, [username]).get(username, NO_CHOICES)
    person = directory.person(connection, username) or Person(username=username)
    event_types = preferences.event_types(connection)
    language = pages.languages.best(person.locale)
    words = pages.languages.translations(language)
    facts = {
        "saved": before is not None,
        "changes": _changes(before, now, event_types, words) if before else [],
        "rescheduled": (
            schedule_form.changes(before.schedule, now.schedule, person, language=language, words=words)
            if before
            else []
        ),
        "schedule": schedule_form.facts(now.schedule, person, language=language, words=words),
        "categories": _by_category(event_types.values(), now),
        "options": [
            {
                "code": code,
                "words": words.gettext(said),
                "enabled": getattr(now, code),
            }
            for code, said in OPTIONS.items()
        ],
        **_facts(connection, person, now, language=language),
    }
    return pages.render("preferences", facts, language=language)


def _facts(connection: Connection, person: Person, choices: Choices, *, language: str) -> dict[str, object]:
    """What the page shows besides the kinds of events."""
    titles = directory.change_lists(connection, choices.muted_cls | choices.subscribed_cls)
    refused = directory.undeliverable(connection, person.username, chosen_email=choices.email)
    return {
        "name": person.name,
        "address": choices.email or person.email,
        "enabled": choices.enabled,
        "undeliverable": refused,
        "refused_at": moment(refused.at, language=language, timezone=person.timezone) if refused else None,
        "muted": _titled(choices.muted_cls, titles),
        "subscribed": _titled(choices.subscribed_cls, titles),
    }


def _titled(links: Iterable[str], titles: Mapping[str, ChangeList]) -> list[dict[str, str | None]]:
    return [{"link": link, "title": titles[link].title if link in titles else None} for link in sorted(links)]


def _changes(
    before: Choices, now: Choices, event_types: Mapping[str, EventType], words: NullTranslations
) -> list[dict[str, object]]:
    """What is otherwise than it was, in the order of the page."""
    changes: list[dict[str, object]] = []
    if before.enabled != now.enabled:
        changes.append({"what": words.gettext(marked("Letters about code review")), "on": now.enabled})
    for code, option in OPTIONS.items():
        if getattr(before, code) != getattr(now, code):
            changes.append({"what": words.gettext(option), "on": getattr(now, code)})
    for code, one in event_types.items():
        was, is_ = (one.is_on(chosen.preferences.get(code)) for chosen in (before, now))
        if was != is_:
            changes.append({"what": words.pgettext("kind", one.description), "on": is_})
    about = words.gettext(marked("letters about %(cl)s"))
    changes += [{"what": about % {"cl": link}, "on": True} for link in sorted(before.muted_cls - now.muted_cls)]
    ended = sorted(before.subscribed_cls - now.subscribed_cls)
    return changes + [{"what": about % {"cl": link}, "on": False} for link in ended]


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
        "enabled": event_type.is_on(choices.preferences.get(event_type.code)),
    }


def _values(posted: Form, field: str) -> set[str]:
    return {value for name, value in posted if name == field}
