"""A person's own notifications over HTTP, with the rules that decided: newest first, and nobody else's."""

from typing import Any

import httpx
import pytest

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.directory.tokens import Scope
from tests.support.callers import Person as Headers
from tests.support.callers import Program
from tests.support.harness import WorkerHarness, comment
from tests.support.statements import statements

HISTORY = "/api/v1/user/notification/history"
PRIVATE = {"relay_reply", "last_error", "leased_by"}


@pytest.fixture
def harness(database: Database) -> WorkerHarness:
    """Ann and bob review CL-1 and CL-2, with five comments."""
    harness = WorkerHarness(database, relay_url=None)
    for number in range(4):
        harness.pending_emails("ann", "bob", key=f"k{number}")
    with database.begin() as connection:
        preferences.mute(connection, "ann", "CL-2")
    harness.pending_emails("ann", "bob", key="k4", link="CL-2")
    return harness


@pytest.fixture
def ann(harness: WorkerHarness, api: httpx.Client, person: Headers) -> httpx.Client:
    assert harness.jobs("k4")
    api.headers.update(person("ann"))
    return api


def told(answer: httpx.Response) -> list[tuple[str, str, str | None]]:
    return [(one["event_key"], one["status"], one["why"]) for one in answer.json()["notifications"]]


def test_a_person_sees_told_and_skipped_notifications_newest_first(ann: httpx.Client) -> None:
    assert told(ann.get(HISTORY)) == [
        ("k4", "skipped", "muted_cl"),
        *((f"k{number}", "pending", None) for number in (3, 2, 1, 0)),
    ]
    assert not PRIVATE & ann.get(HISTORY).json()["notifications"][0].keys()


def test_each_notification_has_the_rules_that_decide_it_now(ann: httpx.Client) -> None:
    skipped, waiting, *_ = ann.get(HISTORY).json()["notifications"]
    assert skipped["trace"][-1]["rule"] == "mute"
    assert (waiting["trace"][0]["rule"], waiting["trace"][-1]["rule"]) == ("audience", "default")
    assert all(step["found"] for step in waiting["trace"])


def test_pages_follow_each_other_without_a_gap(ann: httpx.Client) -> None:
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = ann.get(HISTORY, params={"limit": 2, **cursor}).json()
        seen += [one["event_key"] for one in page["notifications"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["k4", "k3", "k2", "k1", "k0"]


def test_notifications_can_be_filtered_by_change_list(ann: httpx.Client) -> None:
    assert told(ann.get(HISTORY, params={"topic": "CL-2"})) == [("k4", "skipped", "muted_cl")]


def test_nobody_sees_another_persons_notifications(ann: httpx.Client, person: Headers, program: Program) -> None:
    assert ann.get(HISTORY, headers=person("carol")).json() == {"notifications": [], "next_cursor": None}
    assert ann.get(HISTORY, params={"username": "bob"}).status_code == 422
    assert ann.get(HISTORY, headers=program(Scope.OPS)).status_code == 403


def test_a_page_takes_the_same_number_of_statements_whatever_its_size(ann: httpx.Client, database: Database) -> None:
    costs = []
    for limit in (1, 5):
        with statements(database) as sent:
            ann.get(HISTORY, params={"limit": limit})
        costs.append(len(sent))
    assert costs[0] == costs[1]


def test_an_event_lists_the_deciding_rules_for_each_person(
    harness: WorkerHarness, api: httpx.Client, program: Program, database: Database
) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="carol", email="carol@example.com"))
        preferences.set_preference(connection, "carol", "cl.comment.mentioned", enabled=True)
        given = comment(key="k9", actor="bob", reviewers=["ann", "bob"])
        receive(connection, [parse(given | {"comment": {"id": "1", "body": "@carol?"}})])
    harness.fan_out()
    answer = api.get("/api/v1/events/k9", headers=program(Scope.OPS)).json()
    people = {one["username"]: one for one in answer["people"]}
    assert {name: one["trace"][-1]["rule"] for name, one in people.items()} == {
        "ann": "default",
        "bob": "actor",
        "carol": "preference",
        "somebody": "address",
    }
    assert people["carol"]["event_type"] == "cl.comment.mentioned"
    assert people["carol"]["trace"][0]["found"] == "is concerned as mentioned"
    assert people["bob"]["why"] == "is_actor"


def test_a_deferred_email_has_its_reason_and_the_instant_it_leaves(ann: httpx.Client, harness: WorkerHarness) -> None:
    with harness.database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com", timezone="Europe/Berlin"))
    ann.put("/api/v1/user/notification/config", json={"paused_until": "2099-07-01T10:00:00Z"})
    ann.put("/api/v1/user/notification/config", json={"timezone": "Asia/Tokyo"})

    told = {one["event_key"]: one for one in ann.get(HISTORY).json()["notifications"]}
    deferred = [told[key] for key in ("k0", "k1", "k2", "k3")]

    assert {one["deferred_by"] for one in deferred} == {"pause"}
    assert {one["trace"][-1]["rule"] for one in deferred} == {"schedule"}
    assert {one["trace"][-1]["found"] for one in deferred} == {
        f"waits for the end of the pause at 2099-07-01 19:00 JST, in job {deferred[0]['job_id']}"
    }
    assert told["k4"]["trace"][-1]["rule"] == "mute"
