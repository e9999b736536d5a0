"""The preferences page: the form shows the current values, and saving it changes only what was changed."""

from dataclasses import replace
from datetime import UTC, datetime, time
from html.parser import HTMLParser
from re import findall, fullmatch, search
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, update

from notify.api.app import build_app
from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED, ChangeList
from notify.domain.preferences import NO_PREFERENCES, Person, Preferences
from notify.domain.schedule import Mode, QuietHours, Schedule
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.directory.directory import RefusedAddress
from notify.store.directory.tokens import Scope
from notify.store.tables.people import notification_event_types, people
from notify.web.preferences_page import OPTIONS
from tests.support.callers import Person as Headers
from tests.support.callers import Program
from tests.support.harness import WorkerHarness
from tests.support.in_process import InProcess
from tests.support.queues import queue_settings, world_of
from tests.support.translations import CATALOGUES, read
from tests.support.zones import UNKNOWN_ZONES

REQUIRED = "account.locked"
WRITTEN = {"hidden", "text", "time", "datetime-local"}
AT_ONCE = [
    ("shown_schedule", "yes"),
    ("mode", "realtime"),
    ("hour", "9"),
    ("weekday", "1"),
    ("timezone", ""),
    ("quiet_start", "22:00"),
    ("quiet_end", "07:00"),
    ("paused_until", ""),
]
Fields = list[tuple[str, str]]


class FormFields(HTMLParser):
    """What a browser would send if the form were submitted unchanged."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: Fields = []
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        sent = given.get("type") in WRITTEN or "checked" in given
        if tag == "select":
            self._select = str(given["name"])
        if tag == "option" and "selected" in given:
            self.fields.append((self._select, str(given["value"])))
        if tag == "button" or (tag == "input" and sent and "disabled" not in given):
            self.fields.append((str(given["name"]), str(given["value"])))


@pytest.fixture
def page(links: SignedLinks, database: Database) -> str:
    """The address of dana's page; she has muted two change lists, and there is a required event type."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", display_name="Dana <Reyes>"))
        directory.put_change_list(connection, ChangeList(link="CL-1", title="Cap the retry"))
        preferences.mute(connection, "dana", "CL-1")
        preferences.mute(connection, "dana", "CL-2")
        row = {"code": REQUIRED, "category": "Account", "description": "Locked.", "system_required": True}
        connection.execute(insert(notification_event_types).values(row))
    return links.preferences("dana")


def post(api: httpx.Client, page: str, fields: Fields) -> httpx.Response:
    data: dict[str, list[str]] = {}
    for name, value in fields:
        data.setdefault(name, []).append(value)
    return api.post(page, data=data)


def choices(database: Database) -> Preferences:
    with database.begin() as connection:
        return preferences.load(connection, ["dana"]).get("dana", NO_PREFERENCES)


def test_the_page_shows_every_preference_and_escapes_user_input(api: httpx.Client, page: str) -> None:
    text = api.get(page).text
    by_heading = [
        *(f"cl.{code}" for code in ("closed", "created", "merged", "reopened", "updated")),
        *(f"cl.comment.{code}" for code in ("created", "mentioned")),
        *(f"cl.review.{code}" for code in ("requested", "submitted")),
    ]
    of_queues = [f"queue.head.{code}" for code in ("broken", "recovered", "validated")]

    assert "Dana &lt;Reyes&gt;" in text
    assert "Cap the retry" in text
    assert FormFields(text).fields == [
        ("enabled", "on"),
        *AT_ONCE,
        *((field, code) for code in by_heading[:-2] for field in ("type", "shown_type")),
        *((field, code) for code in of_queues[:2] for field in ("type", "shown_type")),
        ("shown_type", of_queues[2]),
        *((field, code) for code in by_heading[-2:] for field in ("type", "shown_type")),
        *(("shown_option", code) for code in OPTIONS),
        ("muted", "CL-1"),
        ("shown_muted", "CL-1"),
        ("muted", "CL-2"),
        ("shown_muted", "CL-2"),
        ("save", "yes"),
    ]


def test_the_page_quotes_why_emails_have_stopped_as_plain_text(
    api: httpx.Client, page: str, database: Database
) -> None:
    assert 'role="alert"' not in api.get(page).text
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
        refused = RefusedAddress("dana", "dana@example.com", "550 <script>alert(1)</script> no such user")
        directory.mark_undeliverable(connection, [refused])

    text = api.get(page).text

    assert "550 &lt;script&gt;alert(1)&lt;/script&gt; no such user" in text
    assert "<script" not in text
    assert "dana@example.com" in text


def test_saving_the_unchanged_page_stores_no_preference(api: httpx.Client, page: str, database: Database) -> None:
    before = choices(database)
    shown = api.get(page)

    answer = post(api, page, FormFields(shown.text).fields)

    assert answer.status_code == 200
    assert choices(database) == before
    assert FormFields(answer.text).fields == FormFields(shown.text).fields


@pytest.mark.parametrize(
    ("unticked", "expected"),
    [
        (("enabled", "on"), Preferences(enabled=False, muted_cls=frozenset({"CL-1", "CL-2"}))),
        (
            ("type", COMMENT_CREATED),
            Preferences(preferences={COMMENT_CREATED: False}, muted_cls=frozenset({"CL-1", "CL-2"})),
        ),
        (("muted", "CL-1"), Preferences(muted_cls=frozenset({"CL-2"}))),
    ],
)
def test_unticking_one_box_changes_one_preference_and_ticking_it_again_restores_it(
    api: httpx.Client, page: str, database: Database, unticked: tuple[str, str], expected: Preferences
) -> None:
    shown = FormFields(api.get(page).text).fields

    answer = post(api, page, [field for field in shown if field != unticked])

    assert choices(database) == expected
    assert unticked not in FormFields(answer.text).fields
    if unticked[0] != "muted":
        assert FormFields(post(api, page, shown).text).fields == shown


def test_a_form_changes_nothing_that_it_did_not_show(api: httpx.Client, page: str, database: Database) -> None:
    """A change list muted, or an event type added, after the page was opened."""
    old = [field for field in FormFields(api.get(page).text).fields if field[1] not in {"CL-2", COMMENT_CREATED}]

    post(api, page, old)

    assert choices(database) == Preferences(muted_cls=frozenset({"CL-1", "CL-2"}))


def test_a_forged_form_cannot_switch_off_a_required_event_type(
    api: httpx.Client, page: str, database: Database
) -> None:
    post(api, page, [("save", "yes"), ("enabled", "on"), ("shown_type", REQUIRED), ("shown_type", "unknown")])

    assert choices(database).preferences == {}


def test_a_post_that_is_not_this_form_switches_nothing_off(api: httpx.Client, page: str, database: Database) -> None:
    before = choices(database)

    assert api.post(page, data={"List-Unsubscribe": "One-Click"}).status_code == 400
    assert choices(database) == before


def test_the_page_confirms_that_it_was_saved_and_shows_the_new_values(api: httpx.Client, page: str) -> None:
    shown = FormFields(api.get(page).text).fields
    assert 'role="status"' not in api.get(page).text

    left = [field for field in shown if field not in {("type", COMMENT_CREATED), ("enabled", "on")}]
    saved = post(api, page, left).text

    assert 'role="status"' in saved
    assert FormFields(saved).fields == left


@pytest.mark.parametrize("option", OPTIONS)
def test_an_event_type_that_is_off_by_default_is_switched_on_and_off_by_its_box(
    api: httpx.Client, page: str, database: Database, option: str
) -> None:
    untouched = FormFields(api.get(page).text).fields

    ticked = post(api, page, [*untouched, ("option", option)])
    assert {code for code in OPTIONS if getattr(choices(database), code)} == {option}
    assert ("option", option) in FormFields(ticked.text).fields

    post(api, page, [("save", "yes"), ("enabled", "on")])
    assert getattr(choices(database), option)

    post(api, page, untouched)
    assert not getattr(choices(database), option)


def test_the_page_says_where_emails_go(api: httpx.Client, page: str, database: Database) -> None:
    assert "we have no address for you" in api.get(page).text
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
    assert "Emails go to dana@example.com." in api.get(page).text
    with database.begin() as connection:
        preferences.put_config(connection, "dana", settings={"email": "d@other.example"}, preferences={})
    assert "Emails go to d@other.example." in api.get(page).text


def test_the_page_uses_the_readers_language_and_time_zone(api: httpx.Client, page: str, database: Database) -> None:
    with database.begin() as connection:
        dana = Person(username="dana", email="dana@example.com", locale="de-DE", timezone="Asia/Kathmandu")
        directory.put_person(connection, dana)
        refused = RefusedAddress("dana", "dana@example.com", "550 no")
        directory.mark_undeliverable(connection, [refused])
    text = api.get(page).text
    assert "Benachrichtigungen für dana" in text
    assert '<optgroup label="Europa">' in text
    assert '<option value="Europe/Rome">Rom</option>' in text
    assert search(r"Am \d+\. \w+ \d{4} \d\d:\d\d \+0545 hat der Mailserver", text)


def test_every_event_type_has_a_name_in_every_language(seeded_event_types: list[dict[str, object]]) -> None:
    for path in CATALOGUES:
        known = {one.id for one in read(path) if one.context == "kind" and one.string}
        for row in seeded_event_types:
            assert {row["category"], row["description"]} <= known


def filled(fields: Fields, **changes: str | list[str]) -> Fields:
    """The form with other values in these fields."""
    kept = [field for field in fields if field[0] not in changes]
    given = [(name, one) for name, value in changes.items() for one in ([value] if isinstance(value, str) else value)]
    return kept + given


EVERYTHING: dict[str, str | list[str]] = {
    "mode": "weekly",
    "hour": "17",
    "weekday": "5",
    "timezone": "Europe/Berlin",
    "quiet_day": ["1", "7"],
    "quiet_start": "21:30",
    "quiet_end": "06:00",
    "paused_until": "2099-07-01T09:00",
}
THEN = Schedule(
    mode=Mode.WEEKLY,
    hour=17,
    weekday=5,
    timezone="Europe/Berlin",
    quiet_hours=QuietHours(days=frozenset({1, 7}), start=time(21, 30), end=time(6)),
    paused_until=datetime(2099, 7, 1, 7, tzinfo=UTC),
)


def test_the_schedule_can_be_changed_on_the_page(api: httpx.Client, page: str, database: Database) -> None:
    untouched = FormFields(api.get(page).text).fields

    answer = post(api, page, filled(untouched, **EVERYTHING))

    assert choices(database).schedule == THEN
    assert sorted(FormFields(answer.text).fields) == sorted(filled(untouched, **EVERYTHING))

    post(api, page, untouched)
    assert choices(database).schedule == Schedule()


def test_a_pause_keeps_its_seconds_when_the_unchanged_page_is_saved(
    api: httpx.Client, page: str, database: Database
) -> None:
    until = datetime(2099, 7, 1, 7, 30, 15, tzinfo=UTC)
    with database.begin() as connection:
        preferences.put_config(connection, "dana", settings={"paused_until": until}, preferences={})

    post(api, page, FormFields(api.get(page).text).fields)

    assert choices(database).schedule.paused_until == until


def test_pending_emails_follow_the_saved_schedule(api: httpx.Client, page: str, database: Database) -> None:
    harness = WorkerHarness(database, relay_url=None)
    untouched = FormFields(api.get(page).text).fields
    post(api, page, filled(untouched, paused_until="2099-07-01T09:00"))
    harness.pending_emails("dana", link="CL-9")
    is_due = "SELECT due_at <= now() FROM jobs WHERE username = 'dana'"
    assert harness.execute(is_due) == [(False,)]

    post(api, page, untouched)
    assert harness.execute(is_due) == [(True,)]


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"timezone": "Mars/Base"}, "timezone", "Europe/Berlin"),
        ({"quiet_day": ["1"], "quiet_start": "22:00", "quiet_end": "22:00"}, "quiet_start", "two different times"),
        ({"quiet_day": ["1"], "quiet_start": ""}, "quiet_end", "two different times"),
        ({"paused_until": "tomorrow"}, "paused_until", "a date and a time"),
        ({"paused_until": "9999-12-31T23:59"}, "paused_until", "a date and a time"),
    ],
)
def test_a_wrong_field_is_marked_and_named_and_the_form_stays_as_it_was_typed(
    api: httpx.Client, page: str, database: Database, wrong: dict[str, Any], field: str, words: str
) -> None:
    with database.begin() as connection:
        preferences.subscribe(connection, "dana", "CL-1")
    before = choices(database)
    dropped = {("enabled", "on"), ("type", COMMENT_CREATED), ("muted", "CL-2"), ("subscribed", "CL-1")}
    untouched = [one for one in FormFields(api.get(page).text).fields if one not in dropped]
    typed = [*filled(untouched, **wrong, mode="weekly"), ("option", "participating")]

    answer = post(api, page, typed)

    assert answer.status_code == 400
    assert sorted(FormFields(answer.text).fields) == sorted(typed)
    (marked,) = findall(
        rf'<(?:input|select) id="{field}"[^>]* aria-invalid="true" aria-describedby="([^"]+)"', answer.text
    )
    assert words in answer.text.partition(f'id="{marked.split()[-1]}"')[2].partition("</p>")[0]
    assert choices(database) == before


@pytest.mark.parametrize(
    "wrong", [{"mode": "yearly"}, {"hour": "24"}, {"weekday": "0"}, {"hour": "٣"}, {"quiet_day": ["8"]}]
)
def test_what_no_form_of_ours_says_is_refused_and_changes_nothing(
    api: httpx.Client, page: str, database: Database, wrong: dict[str, Any]
) -> None:
    answer = post(api, page, filled(FormFields(api.get(page).text).fields, **wrong))

    assert answer.status_code == 400
    assert "the form of this page" in answer.text
    assert choices(database) == Preferences(muted_cls=frozenset({"CL-1", "CL-2"}))


@pytest.mark.parametrize(
    ("digest", "said"),
    [
        ({"mode": "realtime"}, None),
        ({"mode": "hourly"}, r"\w+day \d\d:00"),
        ({"mode": "weekly", "hour": "8", "weekday": "1"}, "Monday 08:00"),
        ({"mode": "weekly", "weekday": "5", "paused_until": "2099-07-01T09:00"}, r"July 1, 2099 09:00 \+0545"),
    ],
)
def test_the_page_says_when_the_next_digest_leaves_by_the_persons_clock(
    api: httpx.Client, page: str, digest: dict[str, str], said: str | None
) -> None:
    untouched = FormFields(api.get(page).text).fields
    post(api, page, filled(untouched, **digest, timezone="Asia/Kathmandu"))
    found = findall(r"Next digest: ([^<]+)<", api.get(page).text)
    assert len(found) == (said is not None)
    assert all(fullmatch(str(said), one) for one in found)


def test_unticking_a_subscription_ends_it(api: httpx.Client, page: str, database: Database) -> None:
    with database.begin() as connection:
        preferences.subscribe(connection, "dana", "CL-1")
        preferences.subscribe(connection, "dana", "CL-7")
    shown = FormFields(api.get(page).text).fields
    assert ("subscribed", "CL-7") in shown

    post(api, page, [field for field in shown if field != ("subscribed", "CL-7")])

    assert choices(database).subscribed_cls == {"CL-1"}


def test_a_queue_is_subscribed_to_and_unsubscribed_from_by_its_box_and_no_other_is(
    context: Context, page: str, database: Database
) -> None:
    queue = "queue:monorepo/main"
    world = world_of(database, queue_settings("monorepo/main"))
    app = build_app(replace(context, queues=world.queues))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        shown = FormFields(api.get(page).text).fields
        assert ("shown_subscribed", queue) in shown
        saved = post(api, page, [*shown, ("subscribed", queue), ("subscribed", "queue:other")])
        assert choices(database).subscribed_cls == {queue}

        ticked = FormFields(saved.text).fields
        post(api, page, [field for field in ticked if field != ("subscribed", queue)])
        assert choices(database).subscribed_cls == set()
    world.stage.stop()


def test_an_unknown_stored_time_zone_does_not_break_the_page(
    api: httpx.Client, page: str, database: Database, person: Headers
) -> None:
    for name in UNKNOWN_ZONES:
        with database.begin() as connection:
            connection.execute(update(people).values(timezone=name))
            preferences.put_config(connection, "dana", settings={"timezone": name, "enabled": True}, preferences={})

        shown = api.get(page)
        saved = post(api, page, [field for field in FormFields(shown.text).fields if field[0] != "enabled"])

        assert (shown.status_code, saved.status_code) == (200, 200), name
        assert not choices(database).enabled
        for path in ("config", "history"):
            assert api.get(f"/api/v1/user/notification/{path}", headers=person("dana")).status_code == 200, name


def test_the_page_opens_with_a_jwt_for_its_owner_and_for_nobody_else(
    api: httpx.Client, page: str, database: Database, person: Headers, program: Program
) -> None:
    assert api.get("/preferences").status_code == 401
    assert api.get("/preferences", headers=program(Scope.OPS)).status_code == 403
    shown = api.get("/preferences", headers=person("dana"))
    assert shown.text == api.get(page).text
    assert shown.headers["content-security-policy"] == api.get(page).headers["content-security-policy"]

    data = dict(filled(FormFields(shown.text).fields, mode="daily"))
    assert api.post("/preferences", data=data).status_code == 401
    assert choices(database).schedule == Schedule()
    assert api.post("/preferences", data=data, headers=person("dana")).status_code == 200
    assert choices(database).schedule.mode is Mode.DAILY
    assert api.post("/preferences", data={"mode": "weekly"}, headers=person("dana")).status_code == 400
    assert ("mode", "realtime") in FormFields(api.get("/preferences", headers=person("alice")).text).fields


def test_only_operators_see_the_emails_for_operators(context: Context, links: SignedLinks) -> None:
    with httpx.Client(
        transport=InProcess(build_app(replace(context, operators=("olga",)))), base_url="http://notify.test"
    ) as api:
        olga, dana = (api.get(links.preferences(name)).text for name in ("olga", "dana"))
    assert "A forge cannot be read." in olga
    assert "A forge cannot be read." not in dana
    assert "<legend>Operators</legend>" not in dana
