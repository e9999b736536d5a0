"""The pages behind the links in an email, filled with sample facts."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, time
from typing import Any

from notify.channels.languages import moment
from notify.channels.links import Scope
from notify.cli.sample import LINK, RECIPIENT
from notify.domain.events import HEAD_BROKEN
from notify.domain.schedule import Mode, QuietHours, Schedule
from notify.http.pages import FORGED, Pages
from notify.store.directory.directory import AddressRefusal
from notify.web import schedule_form
from notify.web.preferences_page import NO_ERRORS, OPTIONS
from notify.web.unsubscribe import Stoppable

SETTINGS_URL = "../preferences/YWxpY2U.sample"
ERRORS = {"timezone": schedule_form.NO_SUCH_TIMEZONE, "quiet_hours": schedule_form.NO_SUCH_QUIET_HOURS}
# The list of the machine's time zones changes with its updates.
ZONES = {"Europe": [("Europe/Berlin", "Berlin"), ("Europe/Isle_of_Man", "Isle of Man")]}
TITLE = "Cap the upload retry"
COMMENTS = "Somebody comments on a change list you wrote or review."
BROKEN = "The head of a queue is broken, and a change of yours is in it."
KINDS = (
    (
        "Comments",
        (("cl.comment.created", COMMENTS), ("cl.comment.mentioned", "Somebody mentions you in a comment or a review.")),
    ),
    (
        "Reviews",
        (
            ("cl.review.requested", "Somebody asks you for a review."),
            ("cl.review.submitted", "Somebody reviews a change list you wrote or review."),
        ),
    ),
)
OFF = "cl.review.submitted"
REQUIRED = "cl.review.requested"
SCHEDULE = Schedule(
    mode=Mode.DAILY,
    quiet_hours=QuietHours(days=frozenset({1, 2, 3, 4, 5}), start=time(22), end=time(7)),
)
REFUSED = "550 5.1.1 No such user here"


def pages(templates: Pages, language: str, *, at: datetime) -> Iterator[tuple[str, str]]:
    """
    Name and HTML of every page in this language.

    Args:
        at: When the events on the pages happened.
    """
    said = templates.languages.translations(language).gettext
    for name, page, facts in (
        ("unsubscribe", "unsubscribe", unsubscribe(changed=False)),
        ("confirmation", "unsubscribe", unsubscribe(changed=True)),
        ("confirmation.queue", "unsubscribe", about_a_queue()),
        ("preferences", "preferences", preferences(templates, language, at=at)),
        ("preferences.refused", "preferences", preferences(templates, language, at=at, errors=ERRORS)),
        ("preferences.saved", "preferences", preferences(templates, language, at=at, saved=True)),
    ):
        yield name, bytes(templates.render(page, facts, language=language).body).decode()
    facts = {"title": said("This link does not work"), "detail": said(FORGED), "settings_url": None}
    yield "refusal", bytes(templates.render("message", facts, language=language).body).decode()


def unsubscribe(*, changed: bool) -> dict[str, Any]:
    """The unsubscribe page's facts: before, or after one click."""
    kind = Stoppable(Scope.EVENT_TYPE, "cl.comment.created", COMMENTS, stopped=changed)
    others = [
        Stoppable(Scope.CHANGE_LIST, LINK, TITLE, stopped=False),
        Stoppable(Scope.EVERYTHING, "", None, stopped=False),
    ]
    return {
        "name": RECIPIENT.name,
        "main": kind,
        "others": others,
        "all_off": False,
        "changed": changed,
        "settings_url": SETTINGS_URL,
    }


def about_a_queue() -> dict[str, Any]:
    """The unsubscribe page's facts after a queue was muted."""
    queue = Stoppable(Scope.CHANGE_LIST, "queue:monorepo/main", None, stopped=True, queue="monorepo/main")
    kind = Stoppable(Scope.EVENT_TYPE, HEAD_BROKEN, BROKEN, stopped=False)
    return unsubscribe(changed=True) | {"main": queue, "others": [kind]}


def preferences(
    templates: Pages, language: str, *, at: datetime, saved: bool = False, errors: Mapping[str, str] = NO_ERRORS
) -> dict[str, Any]:
    """The preferences page's facts: first shown, saved with an address that was refused, or with errors."""
    said = templates.languages.translations(language)
    shown = schedule_form.of_schedule(SCHEDULE, RECIPIENT)
    if errors:
        shown = replace(shown, timezone="Mars/Base", quiet_end=shown.quiet_start)
    schedule = schedule_form.facts(shown, SCHEDULE, RECIPIENT, language=language, words=said, now=at)
    refused = AddressRefusal(email="alice@example.com", at=at, reply=REFUSED) if saved else None
    return {
        "saved": saved,
        "errors": {field: said.gettext(error) for field, error in errors.items()},
        "categories": [(category, [_choice(*kind) for kind in kinds]) for category, kinds in KINDS],
        "options": [
            {"code": code, "label": said.gettext(label), "enabled": code == "participating"}
            for code, label in OPTIONS.items()
        ],
        "name": RECIPIENT.name,
        "address": RECIPIENT.email,
        "enabled": True,
        "undeliverable": refused,
        "refused_at": moment(at, language=language, timezone="Europe/Berlin") if refused else None,
        "muted": [
            {"link": LINK, "title": TITLE, "queue": None, "checked": True},
            {"link": "CL-4633", "title": None, "queue": None, "checked": True},
        ],
        "subscribed": [
            {"link": "CL-4650", "title": "Retire the old uploader", "queue": None, "checked": True},
            {"link": "queue:monorepo/main", "title": None, "queue": "monorepo/main", "checked": True},
            {"link": "queue:monorepo/next", "title": None, "queue": "monorepo/next", "checked": False},
        ],
        "schedule": {**schedule, "zones": ZONES},
    }


def _choice(code: str, description: str) -> dict[str, object]:
    return {"code": code, "description": description, "required": code == REQUIRED, "enabled": code != OFF}
