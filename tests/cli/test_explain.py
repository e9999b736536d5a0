"""Explaining why somebody is told or not, for past and hypothetical events."""

import json
from pathlib import Path
from typing import Any

import pytest

from notify.cli.people import NoSuchPerson
from notify.domain.errors import MalformedEvent, NotifyError
from notify.domain.own_events import status_dead
from notify.domain.preferences import Person
from notify.intake.own_events import emit_own
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import StoredSettings
from notify.store.tables.emails import events
from notify.store.tables.people import cl_reviewers
from tests.cli.conftest import Notify
from tests.support import rows
from tests.support.harness import WorkerHarness

ORDER = ["audience", "address", "required", "actor", "bot", "master_switch", "mute", "role", "preference", "default"]
MERGE = {
    "key": "m1",
    "type": "cl.merged",
    "actor": "dana",
    "cl": {"link": "CL-1", "author": "alice", "reviewers": ["bob"]},
}
TWO_WITHOUT_A_KEY = "\n".join([json.dumps({name: value for name, value in MERGE.items() if name != "key"})] * 2)


@pytest.fixture
def harness(database: Database) -> WorkerHarness:
    """Alice and bob, with addresses."""
    with database.begin() as connection:
        for name in ("alice", "bob", "dana"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return WorkerHarness(database, relay_url=None)


def rules(said: Any) -> list[str]:
    return [step["rule"] for step in said["trace"]]


def test_a_sent_email_is_explained_by_every_rule_down_to_the_default(notify: Notify, harness: WorkerHarness) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    harness.fan_out()
    said = notify("explain", "m1", "bob", "--json").json
    assert (said["told"], said["why"], said["reason"], said["event_type"]) == (True, "default", "reviewer", "cl.merged")
    assert rules(said) == ORDER
    assert [(one["status"], one["job_id"] is None) for one in said["notifications"]] == [("pending", False)]


def test_a_preference_changed_since_decides_now_and_the_row_says_what_decided_then(
    notify: Notify, harness: WorkerHarness
) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    with harness.database.begin() as connection:
        preferences.mute(connection, "bob", "CL-1")
    harness.fan_out()
    with harness.database.begin() as connection:
        preferences.unmute(connection, "bob", "CL-1")
        preferences.set_preference(connection, "bob", "cl.merged", enabled=True)
    said = notify("explain", "m1", "bob", "--json").json
    assert (said["told"], said["why"]) == (True, "chosen_event")
    assert rules(said) == ORDER[:-1]
    assert [(one["status"], one["why"], one["job_id"]) for one in said["notifications"]] == [
        ("skipped", "muted_cl", None)
    ]


def test_for_a_person_with_a_digest_the_time_of_the_email_is_shown(notify: Notify, harness: WorkerHarness) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    with harness.database.begin() as connection:
        settings = StoredSettings(delivery_mode="daily", digest_hour=7, timezone="Mars/Base")
        preferences.put_config(connection, "bob", settings=settings, preferences={})
    said = notify("explain", "m1", "bob", "--json").json
    assert rules(said) == [*ORDER, "schedule"]
    assert "waits for the daily digest at " in said["trace"][-1]["found"]
    assert "07:00 UTC (the time zone 'Mars/Base' is unknown: UTC)" in said["trace"][-1]["found"]


def test_for_a_person_who_is_not_concerned_the_people_who_are_are_listed(
    notify: Notify, harness: WorkerHarness
) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    said = notify("explain", "m1", "dana", "--json").json
    assert (said["told"], said["why"], said["reason"]) == (False, "not_concerned", None)
    assert rules(said) == ["audience"]
    assert "alice (author), bob (reviewer)" in said["trace"][0]["found"]
    assert harness.jobs("m1") == []


def test_an_unknown_person_is_an_error_that_lists_whom_the_event_concerns(
    notify: Notify, harness: WorkerHarness
) -> None:
    stranger = {**MERGE, "key": "m2", "cl": {"link": "CL-2", "author": "alice", "reviewers": ["erin"]}}
    notify("emit", "-", stdin=f"{json.dumps(MERGE)}\n{json.dumps(stranger)}")

    said = notify("explain", "m1", "nobody")

    assert isinstance(said.error, NoSuchPerson)
    assert "alice (author), bob (reviewer)" in str(said.error)
    assert notify("explain", "m2", "erin", "--json").json["why"] == "no_address"
    assert harness.jobs("m1") == []


@pytest.mark.usefixtures("harness")
def test_an_unknown_event_is_an_error_that_lists_the_newest(notify: Notify) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    assert "newest: m1" in str(notify("explain", "nothing", "bob").error)


@pytest.mark.usefixtures("harness")
def test_an_event_waiting_for_the_directory_says_so(notify: Notify) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE | {"cl": {"link": "CL-9"}}))
    assert notify("explain", "m1", "bob", "--json").json["why"] == "unknown_topic"


@pytest.mark.usefixtures("harness")
def test_the_explanation_is_also_printed_as_text(notify: Notify) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    said = notify("explain", "m1", "bob").output
    assert said.startswith("bob is told of m1 (cl.merged): default")
    positions = [said.index(f"\n{rule}") for rule in ORDER]
    assert positions == sorted(positions)


def test_a_hypothetical_event_is_explained_like_a_real_one_and_nothing_is_stored(
    notify: Notify, harness: WorkerHarness
) -> None:
    mention = {
        **MERGE,
        "type": "cl.comment.created",
        "comment": {"id": "1", "body": "@bob?"},
        "cl": {"link": "CL-7", "author": "alice"},
    }
    said = notify("explain", "m1", "bob", "--dry-run", "-", "--json", stdin=json.dumps(mention)).json
    assert (said["told"], said["reason"], said["event_type"]) == (True, "mentioned", "cl.comment.mentioned")
    assert rules(said) == ORDER
    assert said["notifications"] == []
    assert rows.count_of(harness.database, events) == rows.count_of(harness.database, cl_reviewers) == 0
    with harness.database.begin() as connection:
        assert directory.change_list(connection, "CL-7") is None


@pytest.mark.usefixtures("harness")
def test_a_known_key_does_not_stop_a_dry_run_of_another_event(notify: Notify) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    other = {**MERGE, "cl": {"link": "CL-1", "reviewers": ["dana"]}, "actor": "alice"}
    said = notify("explain", "m1", "dana", "--dry-run", "-", "--json", stdin=json.dumps(other)).json
    assert (said["told"], said["reason"]) == (True, "reviewer")
    assert notify("explain", "m1", "dana", "--json").json["why"] == "not_concerned"


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(MERGE, indent=2),
        "\n".join(json.dumps(one) for one in ({**MERGE, "key": "m0", "actor": "bob"}, MERGE)) + "\n\n",
        json.dumps({name: value for name, value in MERGE.items() if name != "key"}),
    ],
    ids=["one object", "a line each", "without a key"],
)
def test_the_event_is_found_in_a_file_by_its_key(notify: Notify, tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(text, encoding="utf-8")
    assert notify("explain", "m1", "bob", "--dry-run", str(path), "--json").json["told"]


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "7\n8", json.dumps(MERGE | {"key": "other"}), TWO_WITHOUT_A_KEY]
)
def test_a_file_without_the_event_is_an_error(notify: Notify, tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(text, encoding="utf-8")
    assert isinstance(notify("explain", "m1", "bob", "--dry-run", str(path)).error, NotifyError | SystemExit)


@pytest.mark.usefixtures("harness")
def test_what_cannot_be_explained_is_an_error(notify: Notify, tmp_path: Path) -> None:
    assert isinstance(notify("explain", "nothing", "bob").error, NotifyError)
    assert notify("explain", "m1", "bob", "--dry-run", str(tmp_path / "none")).code == 2
    wrong = json.dumps(MERGE | {"actor": ""})
    assert isinstance(notify("explain", "m1", "bob", "--dry-run", "-", stdin=wrong).error, MalformedEvent)


def test_an_operator_is_told_of_what_notify_finds_whatever_they_have_switched_off(
    notify: Notify, harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_OPERATORS", "bob")
    dead = status_dead(
        1, 1, forge="github", repository="acme/app", sha="a" * 40, context="ci", reason="forbidden", words=""
    )
    with harness.database.begin() as connection:
        emit_own(connection, [dead])
        preferences.put_config(connection, "bob", settings=StoredSettings(enabled=False), preferences={})
    bob, alice = (notify("explain", dead.key, name, "--json").json for name in ("bob", "alice"))
    assert (bob["told"], bob["why"], bob["reason"]) == (True, "system_required", "operator")
    assert (alice["told"], alice["why"]) == (False, "not_concerned")


def test_of_a_withdrawn_event_nobody_is_told_and_that_is_what_explains_it(
    notify: Notify, harness: WorkerHarness
) -> None:
    notify("emit", "-", stdin=json.dumps(MERGE))
    harness.fan_out()
    notify("events", "withdraw", "m1")
    said = notify("explain", "m1", "bob", "--json").json
    assert (said["told"], said["why"], rules(said)) == (False, "withdrawn", ["audience"])
    assert [one["status"] for one in said["notifications"]] == ["withdrawn"]
