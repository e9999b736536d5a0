"""A person's preferences over HTTP: any part, all or nothing, and nobody else's."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import func, insert, select

from notify.domain.events import COMMENT_CREATED, COMMENT_MENTIONED, HEAD_VALIDATED
from notify.domain.preferences import Person
from notify.intake.triggers import OWN_TRIGGERS, TRIGGERS
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.directory.directory import RefusedAddress
from notify.store.tables.people import notification_event_types, people, user_notification_preferences
from tests.support.callers import Person as Headers
from tests.support.harness import WorkerHarness

CONFIG = "/api/v1/user/notification/config"
REQUIRED = "account.locked"
OFF_BY_DEFAULT = "cl.digest.written"
TYPES = {*TRIGGERS, *OWN_TRIGGERS, COMMENT_MENTIONED}
DEFAULTS = {
    "enabled": True,
    "delivery_mode": "realtime",
    "digest": {"hour": 9, "weekday": 1},
    "timezone": None,
    "quiet_hours": None,
    "paused_until": None,
    "email": None,
    "participating": False,
    "own_actions": False,
    "mentions_pierce_mutes": False,
    "preferences": [
        {"event_type_code": code, "enabled": code not in {OFF_BY_DEFAULT, HEAD_VALIDATED}, "overridden": False}
        for code in sorted({REQUIRED, OFF_BY_DEFAULT, *TYPES})
    ],
    "undeliverable": None,
}
NIGHT = {"days": [1, 2, 3, 4, 5], "start": "22:00", "end": "07:00"}
REPLY = "550 5.1.1 <dana@example.com>: no such user"


@pytest.fixture(autouse=True)
def more_event_types(database: Database) -> None:
    """A required event type, and one that is off by default."""
    with database.begin() as connection:
        connection.execute(
            insert(notification_event_types).values(
                [
                    {"code": code, "category": "Other", "description": code, **rest}
                    for code, rest in {
                        REQUIRED: {"system_required": True, "default_enabled": True},
                        OFF_BY_DEFAULT: {"system_required": False, "default_enabled": False},
                    }.items()
                ]
            )
        )


@pytest.fixture
def dana(api: httpx.Client, person: Headers) -> httpx.Client:
    """A person with a valid token and no stored preferences."""
    api.headers.update(person("dana"))
    return api


def chosen(config: dict[str, Any], code: str) -> tuple[bool, bool]:
    """Whether an event type is on, and whether that is stored."""
    (one,) = [one for one in config["preferences"] if one["event_type_code"] == code]
    return one["enabled"], one["overridden"]


def stored_choices(database: Database) -> int:
    with database.begin() as connection:
        return connection.scalar(select(func.count()).select_from(user_notification_preferences)) or 0


def test_a_person_without_stored_preferences_has_the_defaults(dana: httpx.Client) -> None:
    assert dana.get(CONFIG).json() == DEFAULTS


def test_event_types_are_listed_with_what_people_need_to_choose(dana: httpx.Client) -> None:
    types = {one["code"]: one for one in dana.get("/api/v1/user/notification/types").json()}

    assert types[REQUIRED] == {
        "code": REQUIRED,
        "category": "Other",
        "description": REQUIRED,
        "system_required": True,
        "default_enabled": True,
    }
    assert set(types) == {REQUIRED, OFF_BY_DEFAULT, *TYPES}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"enabled": False}, {"enabled": False}),
        ({"email": "dana@home.example"}, {"email": "dana@home.example"}),
        ({"delivery_mode": "realtime"}, {}),
        ({"delivery_mode": "weekly"}, {"delivery_mode": "weekly"}),
        ({"digest": {"hour": 17}}, {"digest": {"hour": 17, "weekday": 1}}),
        ({"digest": {"hour": 17.0}}, {"digest": {"hour": 17, "weekday": 1}}),
        ({"digest": {"weekday": 5, "hour": None}}, {"digest": {"hour": 9, "weekday": 5}}),
        ({"digest": None, "delivery_mode": None}, {}),
        ({"timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
        ({"quiet_hours": NIGHT}, {"quiet_hours": NIGHT}),
        ({"quiet_hours": {**NIGHT, "days": [5, 1, 5]}}, {"quiet_hours": {**NIGHT, "days": [1, 5]}}),
        ({"paused_until": "2099-01-01T01:00:00+01:00"}, {"paused_until": "2099-01-01T00:00:00Z"}),
        ({"preferences": []}, {}),
        ({"participating": True}, {"participating": True}),
        ({"own_actions": True, "participating": None}, {"own_actions": True}),
        ({"mentions_pierce_mutes": True}, {"mentions_pierce_mutes": True}),
    ],
)
def test_a_put_changes_what_it_names_and_nothing_else(
    dana: httpx.Client, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = dana.put(CONFIG, json=given)

    assert answer.status_code == 200
    assert answer.json() == dana.get(CONFIG).json() == DEFAULTS | expected


def test_preferences_of_event_types_are_independent(dana: httpx.Client) -> None:
    dana.put(CONFIG, json={"preferences": [{"event_type_code": COMMENT_CREATED, "enabled": False}]})
    config = dana.put(CONFIG, json={"preferences": [{"event_type_code": OFF_BY_DEFAULT, "enabled": True}]}).json()

    assert chosen(config, COMMENT_CREATED) == (False, True)
    assert chosen(config, OFF_BY_DEFAULT) == (True, True)


def test_an_email_of_null_restores_the_directorys_address(dana: httpx.Client) -> None:
    dana.put(CONFIG, json={"email": "dana@home.example"})

    assert dana.put(CONFIG, json={"enabled": True}).json()["email"] == "dana@home.example"
    assert dana.put(CONFIG, json={"email": None}).json()["email"] is None


def test_schedule_fields_are_reset_by_null_or_the_default(dana: httpx.Client) -> None:
    dana.put(
        CONFIG,
        json={
            "delivery_mode": "daily",
            "timezone": "Asia/Tokyo",
            "quiet_hours": NIGHT,
            "paused_until": "2099-01-01T00:00:00Z",
        },
    )
    nothing = {"delivery_mode": "realtime", "timezone": None, "quiet_hours": None, "paused_until": None}

    assert dana.put(CONFIG, json=nothing).json() == DEFAULTS


def test_pending_emails_follow_a_put_at_once(dana: httpx.Client, database: Database) -> None:
    harness = WorkerHarness(database, relay_url=None)
    dana.put(CONFIG, json={"paused_until": "2099-01-01T00:00:00Z"})
    harness.pending_emails("dana")
    row = next(one for one in harness.jobs() if one.username == "dana")
    assert (row.deferred_by, row.due_at) == ("pause", datetime(2099, 1, 1, tzinfo=UTC))

    dana.put(CONFIG, json={"preferences": [], "paused_until": None})
    assert harness.execute("SELECT due_at <= now() FROM jobs WHERE username = 'dana'") == [(True,)]


def test_putting_back_what_was_read_stores_no_preference(dana: httpx.Client, database: Database) -> None:
    answer = dana.put(CONFIG, json=dana.get(CONFIG).json())

    assert answer.json()["preferences"][1:] == DEFAULTS["preferences"][1:]  # type: ignore[index]
    assert chosen(answer.json(), COMMENT_CREATED) == (True, False)
    assert stored_choices(database) == 0


def test_a_preference_is_reset_by_overridden_false(dana: httpx.Client, database: Database) -> None:
    about = {"event_type_code": COMMENT_CREATED}
    dana.put(CONFIG, json={"preferences": [about | {"enabled": False}]})

    config = dana.put(CONFIG, json={"preferences": [about | {"enabled": True, "overridden": False}]}).json()

    assert chosen(config, COMMENT_CREATED) == (True, False)
    assert stored_choices(database) == 0


def test_a_changed_value_counts_even_if_overridden_was_read_as_false(dana: httpx.Client) -> None:
    read = {"event_type_code": COMMENT_CREATED, "enabled": True, "overridden": False}
    config = dana.put(CONFIG, json={"preferences": [read | {"enabled": False}]}).json()

    assert chosen(config, COMMENT_CREATED) == (False, True)


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        (
            {"preferences": [{"event_type_code": "cl.abandoned", "enabled": False}]},
            "preferences.0.event_type_code",
            COMMENT_CREATED,
        ),
        ({"preferences": [{"event_type_code": REQUIRED, "enabled": False}]}, "preferences.0.enabled", REQUIRED),
        (
            {"preferences": [{"event_type_code": COMMENT_CREATED, "enabled": on} for on in (True, False)]},
            "preferences.1.event_type_code",
            "twice",
        ),
        ({"preferences": [{"event_type_code": COMMENT_CREATED}]}, "preferences.0.enabled", ""),
        ({"delivery_mode": "yearly"}, "delivery_mode", "realtime"),
        ({"digest": {"hour": 24}}, "digest.hour", "23"),
        ({"digest": {"hour": 9.5}}, "digest.hour", "integer"),
        ({"digest": {"hour": True}}, "digest.hour", "integer"),
        ({"digest": {"hour": "nine"}}, "digest.hour", ""),
        ({"digest": {"weekday": 0}}, "digest.weekday", "1"),
        ({"digest": {"day": 1}}, "digest.day", ""),
        ({"timezone": "Mars/Base"}, "timezone", "IANA"),
        ({"quiet_hours": {**NIGHT, "days": []}}, "quiet_hours.days", ""),
        ({"quiet_hours": {**NIGHT, "days": [8]}}, "quiet_hours.days.0", "7"),
        ({"quiet_hours": {**NIGHT, "start": "24:00"}}, "quiet_hours.start", ""),
        ({"quiet_hours": {**NIGHT, "end": "22:00"}}, "quiet_hours.end", "start"),
        ({"quiet_hours": {"days": [1], "start": "22:00"}}, "quiet_hours.end", ""),
        ({"paused_until": "2099-01-01T00:00:00"}, "paused_until", "timezone"),
        ({"paused_until": "9999-01-01T00:00:00Z"}, "paused_until", "2100"),
        ({"email": "not an address"}, "email", ""),
        ({"enabled": "yes"}, "enabled", ""),
        ({"participating": 1}, "participating", ""),
        ({"own_actions": "on"}, "own_actions", ""),
        ({"enabld": False}, "enabld", ""),
    ],
)
def test_an_invalid_field_anywhere_in_a_put_changes_nothing(
    dana: httpx.Client, given: dict[str, Any], field: str, words: str
) -> None:
    good = {"enabled": False, "email": "dana@home.example", "delivery_mode": "daily", "participating": True}
    answer = dana.put(CONFIG, json=good | given)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["reason"]
    assert dana.get(CONFIG).json() == DEFAULTS


@pytest.fixture
def refused(database: Database) -> None:
    """A relay has refused dana's address for good."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
        directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", REPLY)])


@pytest.mark.usefixtures("refused")
def test_a_permanently_refused_address_is_shown_with_the_date_and_the_relays_reply(
    dana: httpx.Client, database: Database
) -> None:
    shown = dana.get(CONFIG).json()["undeliverable"]

    assert (shown["email"], shown["reply"]) == ("dana@example.com", REPLY)
    with database.begin() as connection:
        assert datetime.fromisoformat(shown["at"]) == connection.scalar(select(people.c.undeliverable_at))


@pytest.mark.usefixtures("refused")
def test_another_address_ends_the_refusal_and_the_refused_one_restores_it(dana: httpx.Client) -> None:
    before = dana.get(CONFIG).json()

    assert dana.put(CONFIG, json={"email": "dana@home.example"}).json()["undeliverable"] is None
    assert dana.put(CONFIG, json={"email": None}).json() == before


@pytest.mark.usefixtures("refused")
def test_a_refusal_can_be_put_back_as_read_but_not_invented(dana: httpx.Client, person: Headers) -> None:
    read = dana.get(CONFIG).json()

    assert dana.put(CONFIG, json=read).json()["undeliverable"] == read["undeliverable"]
    assert dana.put(CONFIG, json={**read, "undeliverable": None}).json()["undeliverable"] == read["undeliverable"]
    assert dana.put(CONFIG, json=read, headers=person("alice")).json()["undeliverable"] is None


def test_a_person_can_read_and_change_only_their_own_preferences(dana: httpx.Client, person: Headers) -> None:
    dana.put(CONFIG, json={"enabled": False})

    assert dana.get(CONFIG, headers=person("alice")).json() == DEFAULTS


def test_many_concurrent_puts_of_one_person_all_succeed(dana: httpx.Client) -> None:
    """A person's first preference is where two inserts of the same row can collide."""

    def put(number: int) -> int:
        on = bool(number % 2)
        about = [{"event_type_code": code, "enabled": on} for code in (OFF_BY_DEFAULT, COMMENT_CREATED)]
        forget = [one | {"overridden": False} for one in about]
        return dana.put(CONFIG, json={"enabled": on, "preferences": forget[:: 1 if on else -1]}).status_code

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert set(pool.map(put, range(40))) == {200}
