"""Event types over REST: operators change their defaults, and running workers go by them."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from notify import wiring
from notify.domain.custom_types import CustomEventType
from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.resources import folder
from notify.store.database import Database
from notify.store.directory import directory, event_types
from notify.store.directory.tokens import Scope
from tests.support.callers import Program
from tests.support.harness import WorkerHarness, comment

COMMENT = "/api/v1/event-types/cl.comment.created"


@pytest.fixture
def operator(api: httpx.Client, program: Program) -> httpx.Client:
    api.headers.update(program(Scope.OPS))
    return api


def test_every_event_type_is_listed_with_what_can_be_changed(operator: httpx.Client) -> None:
    found = {one["code"]: one for one in operator.get("/api/v1/event-types").json()}
    assert found["cl.comment.created"] == {
        "code": "cl.comment.created",
        "category": "Comments",
        "description": "Somebody comments on a change list you wrote or review.",
        "system_required": False,
        "default_enabled": True,
        "expires_after_seconds": 259_200,
        "bundle_seconds": None,
    }
    assert found["status.dead"]["bundle_seconds"] == 600


def test_what_is_given_is_changed_and_the_rest_stays(operator: httpx.Client) -> None:
    before = operator.patch(COMMENT, json={"bundle_seconds": 0, "expires_after_seconds": 60}).json()
    after = operator.patch(COMMENT, json={"default_enabled": False, "system_required": True})
    assert after.status_code == 200
    assert after.json() == before | {"default_enabled": False, "system_required": True}
    assert (before["bundle_seconds"], before["expires_after_seconds"]) == (0, 60)
    assert operator.patch(COMMENT, json={"bundle_seconds": None}).json()["bundle_seconds"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"default_enabled": None}, "default_enabled"),
        ({"system_required": "yes"}, "system_required"),
        ({"expires_after_seconds": 0}, "expires_after_seconds"),
        ({"expires_after_seconds": 90 * 86_400 + 1}, "expires_after_seconds"),
        ({"bundle_seconds": -1}, "bundle_seconds"),
        ({"bundle_seconds": 86_401}, "bundle_seconds"),
        ({"default_enabled": False, "description": "Mine."}, "description"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_changed(
    operator: httpx.Client, body: dict[str, Any], field: str
) -> None:
    before = operator.get("/api/v1/event-types").json()
    answer = operator.patch(COMMENT, json=body)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])
    assert operator.get("/api/v1/event-types").json() == before


def test_an_unknown_type_is_answered_with_the_nearest_and_only_operators_may_ask(
    operator: httpx.Client, program: Program
) -> None:
    unknown = operator.patch("/api/v1/event-types/cl.coment.created", json={"default_enabled": False})
    assert unknown.status_code == 404
    assert "cl.comment.created" in unknown.json()["detail"]
    assert operator.patch(COMMENT, json={}, headers=program(Scope.EVENTS_WRITE)).status_code == 403


def test_a_running_worker_goes_by_a_change_from_its_next_batch_on(operator: httpx.Client, database: Database) -> None:
    harness = WorkerHarness(database, None)
    worker = wiring.fan_out(harness.settings, database, doorbell=harness.doorbell, worker=uuid4())
    became = []
    for number, change in enumerate([{"default_enabled": True}, {"default_enabled": False}, {"system_required": True}]):
        operator.patch(COMMENT, json=change)
        with database.begin() as connection:
            directory.put_person(connection, Person(username="bob", email="bob@example.com"))
            receive(connection, [parse(comment(key=f"k{number}", reviewers=["bob"]))])
        worker.drain()
        became += [(one.status, one.lane) for one in harness.jobs(f"k{number}") if one.username == "bob"]
    assert became == [("pending", 1), ("skipped", None), ("pending", 0)]


def test_storing_the_types_of_packages_again_keeps_what_operators_have_set(
    operator: httpx.Client, database: Database
) -> None:
    def package(description: str) -> list[str]:
        one = CustomEventType(
            code="acme.failed",
            category="Acme",
            description=description,
            audience=lambda *_: (),
            templates=folder("templates"),
        )
        with database.begin() as connection:
            return event_types.store(connection, [one])

    assert [package("It fails."), package("It fails.")] == [["acme.failed"], []]
    operator.patch("/api/v1/event-types/acme.failed", json={"default_enabled": False})
    assert package("It has failed.") == ["acme.failed"]
    stored = next(one for one in operator.get("/api/v1/event-types").json() if one["code"] == "acme.failed")
    assert (stored["description"], stored["default_enabled"]) == ("It has failed.", False)


def test_an_event_that_names_no_known_type_is_refused_with_those_that_there_are(
    api: httpx.Client, program: Program
) -> None:
    given = {**comment(), "type": "acme.failed"}
    answer = api.post("/api/v1/events", json=given, headers=program(Scope.EVENTS_WRITE))
    assert answer.json()["errors"][0]["field"] == "type"
    assert "cl.merged" in answer.json()["errors"][0]["reason"]
