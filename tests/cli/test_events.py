"""Events as operators see them: those that wait for the directory, and retrying them by hand."""

import json

import pytest

from notify.cli.events import NoEventsSelected
from notify.domain.errors import NoSuchEvent
from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.store.database import Database
from notify.store.directory import directory
from tests.cli.conftest import Notify
from tests.support import rows
from tests.support.harness import WorkerHarness

MERGE = {"key": "m1", "type": "cl.merged", "actor": "dana", "cl": {"link": "CL-9"}}


@pytest.fixture
def harness(database: Database, notify: Notify) -> WorkerHarness:
    """An event on the unknown CL-9; bob reviews CL-1."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="bob", email="bob@example.com"))
    known = {**MERGE, "key": "m2", "cl": {"link": "CL-1", "author": "dana", "reviewers": ["bob"]}}
    notify("emit", "-", stdin=f"{json.dumps(MERGE)}\n{json.dumps(known)}")
    harness = WorkerHarness(database, None)
    harness.fan_out()
    return harness


def keys(notify: Notify, *arguments: str) -> list[str]:
    return [one["key"] for one in notify("events", "list", "--json", *arguments).json]


@pytest.mark.usefixtures("harness")
def test_events_are_listed_by_status_reason_and_change_list(notify: Notify) -> None:
    assert keys(notify) == ["m2", "m1"]
    assert keys(notify, "--status", "pending") == keys(notify, "--reason", "unknown_topic") == ["m1"]
    assert keys(notify, "--cl", "CL-1") == ["m2"]
    assert notify("events", "list", "--status", "foo").code == 2
    shown = notify("events", "list").output
    assert all(word in shown for word in ("m1", "CL-9", "unknown_topic"))


@pytest.mark.usefixtures("harness")
def test_an_event_is_shown_with_what_it_waits_for_or_whom_it_reached(notify: Notify) -> None:
    waits, done = (notify("events", "show", key, "--json").json for key in ("m1", "m2"))
    assert (waits["status"], waits["last_error"], waits["people"]) == ("pending", "unknown_topic", [])
    assert waits["due_at"] is not None
    assert {one["username"]: one["status"] for one in done["people"]} == {"bob": "pending", "dana": "skipped"}
    assert "not fanned out yet" in notify("events", "show", "m1").output
    assert "bob" in notify("events", "show", "m2").output


def test_once_the_directory_knows_the_change_list_a_retry_reaches_its_people(
    notify: Notify, harness: WorkerHarness
) -> None:
    # Another event about it would have to wait until this one was done.
    assert notify("cls", "put", "CL-9", "--author", "bob").code == 0
    harness.fan_out()
    assert harness.jobs("m1") == []

    said = notify("events", "retry", "m1", "--json")
    harness.fan_out()

    assert (said.code, said.json) == (0, {"matched": 1, "keys": ["m1"]})
    assert [one.username for one in harness.jobs("m1")] == ["bob"]


def test_dead_events_are_retried_together_and_what_is_done_is_not(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        for key in ("d1", "d2"):
            rows.event(connection, key=key, **rows.ended("dead"), last_error="unknown_topic")
        rows.event(connection, key="done", **rows.ended("done"))

    asked = notify("events", "retry", "--reason", "unknown_topic", stdin="n\n")
    assert (asked.code, keys(notify, "--status", "dead")) == (1, ["d2", "d1"])

    assert notify("events", "retry", "--reason", "unknown_topic", "--yes").code == 0
    assert keys(notify, "--status", "pending") == ["d2", "d1"]
    assert notify("events", "retry", "done", "--json").json == {"matched": 1, "keys": []}


@pytest.mark.usefixtures("harness")
def test_an_unknown_key_is_an_error_that_names_the_newest_events(notify: Notify) -> None:
    for command in (["show", "none"], ["retry", "m1", "none"]):
        said = notify("events", *command)
        assert isinstance(said.error, NoSuchEvent)
        assert "newest: m2, m1" in str(said.error)
    assert isinstance(notify("events", "retry").error, NoEventsSelected)


@pytest.mark.usefixtures("healthy")
def test_the_doctor_names_an_event_that_waits_and_its_change_list(well: Notify, harness: WorkerHarness) -> None:
    def findings() -> dict[str, dict[str, str]]:
        return {one["about"]: one for one in well("doctor", "--json").json if not one["ok"]}

    finding = findings()["change lists"]
    assert "m1 for CL-9" in finding["found"]
    assert "notify cls put CL-9" in finding["fix"]

    with harness.database.begin() as connection:
        directory.put_change_list(connection, ChangeList(link="CL-9", author="bob"))
    assert well("events", "retry", "--reason", "unknown_topic").code == 0
    harness.fan_out()
    assert "change lists" not in findings()


def test_an_event_is_withdrawn_by_hand_and_everyone_is_named(notify: Notify, harness: WorkerHarness) -> None:
    assert "bob" in notify("events", "withdraw", "m2").output
    said = notify("events", "withdraw", "m2", "--json").json
    assert {one["username"]: one["status"] for one in said["people"]} == {"bob": "withdrawn", "dana": "skipped"}
    assert "nobody" in notify("events", "withdraw", "m1").output
    assert keys(notify, "--status", "withdrawn") == ["m2", "m1"]
    assert notify("events", "retry", "m1", "m2", "--yes", "--json").json["keys"] == []
    assert [one.status for one in harness.jobs("m2")] == ["withdrawn", "skipped"]


def test_withdrawing_an_unknown_event_names_the_newest(notify: Notify) -> None:
    refused = notify("events", "withdraw", "nothing").error
    assert isinstance(refused, NoSuchEvent)
    assert refused.facts == {"key": "nothing", "newest": "none"}
