"""The preferences page of one person, reached from an email without logging in."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from notify.channels.languages import marked, moment
from notify.domain.events import FOR_OPERATORS, ChangeList
from notify.domain.preferences import EventType, Person, Preferences
from notify.domain.queue_events import queue_of, topic_of
from notify.domain.schedule import Schedule
from notify.http import auth, call_limits
from notify.http.context import Context, InContext, InLinks
from notify.http.pages import PAGE_RESPONSES, Refusal
from notify.http.problems import BODY_RESPONSES
from notify.intake.save_preferences import save_preferences
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import StoredSettings
from notify.store.outbox import bundles
from notify.web import schedule_form
from notify.web.forms import Form, FormBody, is_of, posts, values

OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "participating": marked("Emails about change lists that you have taken part in"),
        "own_actions": marked("Emails about what you do yourself"),
        "mentions_pierce_mutes": marked("Emails when you are mentioned, even about muted change lists"),
    }
)
NO_ERRORS: Mapping[str, str] = MappingProxyType({})
LARGEST_FORM = 256 * 1024
FIELDS = {"save": ["yes"], "enabled": ["on"]}
BODY = posts(FIELDS, needed=["save"])


async def _reader(request: Request, token: str, links: InLinks) -> str:
    async with call_limits.key_check(request):
        return links.read_preferences(token)


Posted = Annotated[Form, Depends(FormBody(LARGEST_FORM))]

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse, responses=PAGE_RESPONSES)
mine = APIRouter(
    tags=["pages"],
    default_response_class=HTMLResponse,
    responses={
        **auth.REFUSALS,
        **BODY_RESPONSES,
        int(HTTPStatus.BAD_REQUEST): PAGE_RESPONSES[int(HTTPStatus.BAD_REQUEST)],
    },
)


@router.get("/preferences/{token}", operation_id="showPreferencesPage")
def show(me: Annotated[str, Depends(_reader)], context: InContext) -> HTMLResponse:
    """Show the preferences page."""
    return _shown(context, me)


@router.post("/preferences/{token}", operation_id="savePreferencesPage", openapi_extra=BODY)
def save(me: Annotated[str, Depends(_reader)], posted: Posted, context: InContext) -> HTMLResponse:
    """Save the form of the preferences page, and show it again."""
    return _saved(context, me, posted)


@mine.get("/preferences", operation_id="showMyPreferencesPage")
def show_mine(me: auth.Me, context: InContext) -> HTMLResponse:
    """
    Show the preferences page to a person with a JWT.

    For applications that embed it.
    """
    return _shown(context, me)


@mine.post("/preferences", operation_id="saveMyPreferencesPage", openapi_extra=BODY)
def save_mine(me: auth.Me, posted: Posted, context: InContext) -> HTMLResponse:
    """Save the form of the preferences page, and show it again."""
    return _saved(context, me, posted)


def _shown(context: Context, username: str) -> HTMLResponse:
    with context.database.begin() as connection:
        return _page(context, connection, username)


def _saved(context: Context, username: str, posted: Form) -> HTMLResponse:
    if ("save", "yes") not in posted or not is_of(posted, FIELDS):
        raise Refusal(HTTPStatus.BAD_REQUEST, schedule_form.NOT_THE_FORM)
    with context.database.begin() as connection:
        before = preferences.config(connection, username)
        when, errors = _schedule(posted, before.schedule, _person(connection, username))
        if errors:
            return _page(context, connection, username, posted=posted, errors=errors)
        chosen = _chosen(posted, preferences.event_types(connection), before)
        save_preferences(connection, username, settings=_settings(posted) | when, event_types=chosen)
        preferences.unmute(connection, username, *_unticked(posted, "muted"))
        preferences.unsubscribe(connection, username, *_unticked(posted, "subscribed"))
        ticked = values(posted, "subscribed") & _topics(context)
        preferences.subscribe(connection, username, *(ticked - before.subscribed_cls))
        return _page(context, connection, username, saved=True)


def _topics(context: Context) -> set[str]:
    """What people may subscribe to on the page: the queues."""
    return set(map(topic_of, context.queues.settings))


def _person(connection: Connection, username: str) -> Person:
    return directory.person(connection, username) or Person(username=username)


def _schedule(posted: Form, before: Schedule, person: Person) -> tuple[StoredSettings, Mapping[str, str]]:
    """What to store of the schedule, and what is wrong, by field; nothing if the form did not show it."""
    typed = schedule_form.of_form(posted)
    return schedule_form.settings(typed, before=before, person=person) if typed else (StoredSettings(), NO_ERRORS)


def _settings(posted: Form) -> StoredSettings:
    """What the form says about all emails; options that it did not show are left alone."""
    on, shown = values(posted, "option"), values(posted, "shown_option")
    options = {code: code in on for code in OPTIONS if code in shown}
    return cast("StoredSettings", {"enabled": ("enabled", "on") in posted, **options})


def _chosen(posted: Form, event_types: Mapping[str, EventType], before: Preferences) -> dict[str, bool | None]:
    """The types that the form switches; what the form did not show is left alone."""
    on, shown = values(posted, "type"), values(posted, "shown_type")
    return {
        code: code in on
        for code, one in event_types.items()
        if code in shown and not one.system_required and (code in on) != one.is_on(before.preferences.get(code))
    }


def _unticked(posted: Form, field: str) -> set[str]:
    """What the form showed checked and was posted unchecked."""
    return values(posted, f"shown_{field}") - values(posted, field)


def _page(
    context: Context,
    connection: Connection,
    username: str,
    *,
    saved: bool = False,
    posted: Form | None = None,
    errors: Mapping[str, str] = NO_ERRORS,
) -> HTMLResponse:
    """
    The page as it stands, or, when something was refused, as it was posted, with what is wrong beside the fields.

    Args:
        errors: A sentence for each field that was refused.
    """
    now, person = preferences.config(connection, username), _person(connection, username)
    event_types = [
        one
        for one in preferences.event_types(connection).values()
        if one.code not in FOR_OPERATORS or username in context.operators
    ]
    titles = directory.change_lists(connection, now.muted_cls | now.subscribed_cls)
    refused = directory.undeliverable(connection, username, chosen_email=now.email)
    language = context.pages.languages.best(person.locale)
    words = context.pages.languages.translations(language)
    shown = schedule_form.of_form(posted or []) or schedule_form.of_schedule(now.schedule, person)
    clock = bundles.now(connection)
    facts = {
        "name": person.name,
        "address": now.email or person.email,
        "undeliverable": refused,
        "refused_at": moment(refused.at, language=language, timezone=person.timezone) if refused else None,
        "saved": saved,
        "errors": {field: words.gettext(error) for field, error in errors.items()},
        "enabled": now.enabled if posted is None else ("enabled", "on") in posted,
        "schedule": schedule_form.facts(shown, now.schedule, person, language=language, words=words, now=clock),
        "categories": _by_category(event_types, now, posted),
        "options": [
            {
                "code": code,
                "label": words.gettext(label),
                "enabled": _is_checked(posted, "option", code, stored=getattr(now, code)),
            }
            for code, label in OPTIONS.items()
        ],
        "muted": _topic_choices("muted", now.muted_cls, now.muted_cls, titles, posted),
        "subscribed": _topic_choices(
            "subscribed", now.subscribed_cls | _topics(context), now.subscribed_cls, titles, posted
        ),
    }
    status = HTTPStatus.BAD_REQUEST if errors else HTTPStatus.OK
    return context.pages.render("preferences", facts, language=language, status=status)


def _is_checked(posted: Form | None, field: str, value: str, *, stored: bool) -> bool:
    """As the form was posted, where it showed the box, else as it is stored."""
    if posted is None or (f"shown_{field}", value) not in posted:
        return stored
    return (field, value) in posted


def _topic_choices(
    field: str, shown: Iterable[str], chosen: Collection[str], known: Mapping[str, ChangeList], posted: Form | None
) -> list[dict[str, Any]]:
    """Boxes for these topics: change lists, and then queues."""
    return [
        {
            "link": topic,
            "title": known[topic].title if topic in known else None,
            "queue": queue_of(topic),
            "checked": _is_checked(posted, field, topic, stored=topic in chosen),
        }
        for topic in sorted(shown, key=lambda one: (queue_of(one) is not None, one))
    ]


def _by_category(
    event_types: Iterable[EventType], stored: Preferences, posted: Form | None
) -> list[tuple[str, list[dict[str, Any]]]]:
    found = defaultdict(list)
    for one in sorted(event_types, key=lambda one: (one.category, one.code)):
        found[one.category].append({
            "code": one.code,
            "description": one.description,
            "required": one.system_required,
            "enabled": _is_checked(
                posted, "type", one.code, stored=one.is_on(stored.preferences.get(one.code))
            ),
        })  # fmt: skip
    return list(found.items())
