"""Holding the breaker of a relay open by hand."""

from datetime import timedelta
from typing import Any

import pytest

from notify.domain.errors import NotifyError
from notify.store import relays
from notify.store.database import Database
from tests.cli.conftest import Notify
from tests.support.office import Office
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def name(relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured relay as commands call it."""
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)
    return relay.url.rpartition("/")[2]


def breaker(notify: Notify) -> dict[str, Any]:
    """What the doctor finds about it."""
    (found,) = [one for one in notify("doctor", "--json").json if one["about"] == "breaker"]
    assert isinstance(found, dict)
    return found


def test_while_a_relay_is_muted_nothing_is_claimed_and_afterwards_everything_goes_out(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    office = Office(database, relay.url)
    letters = office.letters_wait("ann", "bob")

    assert notify("relays", "mute", name, "--because", "dana: the relay moves").code == 0
    assert office.drain()["claimed"] == 0
    assert [(one.status, one.attempt) for one in office.jobs()] == [(one.status, 0) for one in letters]

    assert notify("relays", "unmute", name).code == 0
    assert office.drain()["sent"] == 2


def test_the_doctor_says_who_muted_a_relay_and_what_unmutes_it(notify: Notify, name: str) -> None:
    assert breaker(notify)["ok"]

    notify("relays", "mute", name, "--because", "dana: the [bold]relay moves")

    assert not breaker(notify)["ok"]
    assert "dana: the [bold]relay moves" in breaker(notify)["found"]
    assert breaker(notify)["mend"] == f"notify relays unmute {name}"
    assert "[bold]relay moves" in notify("relays", "list").output


def test_the_doctor_has_the_words_with_which_a_relay_refused_the_password(
    notify: Notify, database: Database, name: str
) -> None:
    minute = timedelta(minutes=1)
    with database.begin() as connection:
        relays.note_failure(
            connection,
            name,
            reason="configuration: auth_refused",
            error="535 5.7.8 bad password",
            opens_after=1,
            first=minute,
            longest=minute,
        )

    found = breaker(notify)

    assert not found["ok"]
    assert "configuration: auth_refused" in found["found"]
    assert "535 5.7.8 bad password" in found["found"]
    assert "NOTIFY_SMTP_URL" in found["mend"]


def test_the_list_has_the_configured_relay_and_every_other_that_was_in_trouble(
    notify: Notify, database: Database, name: str
) -> None:
    with database.begin() as connection:
        relays.mute(connection, "old.example.com:25", because=None)

    listed = {one["relay"]: (one["is_open"], one["state"]) for one in notify("relays", "list", "--json").json}

    assert listed == {name: (False, "closed"), "old.example.com:25": (True, "closed")}


def test_the_configured_relays_are_listed_by_priority_before_the_others(
    notify: Notify, database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_FALLBACK_URLS", "smtp://z.example.com smtp://b.example.com")
    with database.begin() as connection:
        relays.mute(connection, "a.example.com:25", because=None)

    listed = [(one["relay"], one["priority"]) for one in notify("relays", "list", "--json").json]

    expected = [(name, 1), ("z.example.com:587", 2), ("b.example.com:587", 3), ("a.example.com:25", None)]
    assert listed == expected
    assert [one["relay"] for one in notify("top", "--once", "--json").json["relays"]] == [one for one, _ in expected]
    assert notify("relays", "mute", "b.example.com:587").code == 0


def test_a_relay_at_its_rate_is_listed_with_when_there_is_room_again(
    notify: Notify, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{relay.url}?per_second=0.01"
    monkeypatch.setenv("NOTIFY_SMTP_URL", url)
    office = Office(database, url)
    office.letters_wait("ann", "bob", "cy")
    assert notify("relays", "list", "--json").json[0]["room_in_seconds"] == 0
    office.drain()

    (listed,) = notify("relays", "list", "--json").json

    assert listed["per_second"] == 0.01
    assert 50 < listed["room_in_seconds"] <= 100
    assert "0.01/s," in notify("top", "--once").output


def test_a_name_that_is_mistyped_mutes_nothing(notify: Notify, database: Database, name: str) -> None:
    assert isinstance(notify("relays", "mute", f"{name}0").error, NotifyError)
    assert isinstance(notify("relays", "unmute", name).error, NotifyError)

    with database.begin() as connection:
        assert relays.standings(connection) == {}


def test_words_that_are_too_long_are_refused(notify: Notify, database: Database, name: str) -> None:
    assert notify("relays", "mute", name, "--because", "é" * 513).code == 2

    with database.begin() as connection:
        assert not relays.standing(connection, name).is_muted
