"""Statuses over REST: what a program publishes is stored, and operators see what became of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from notify.api.app import build_app
from notify.domain.forge_answers import Refused, Unavailable
from notify.domain.stages import STATUSES
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from notify.work.forges import Forges
from tests.support.callers import Person, Program
from tests.support.doorbell import RecordingDoorbell
from tests.support.in_process import InProcess
from tests.support.statuses import SHA, MemoryForge, StatusHarness, check_run, refuses, status_stage, wanted

URL = "/api/v1/statuses"
DEAD = refuses(Refused(reason="invalid", words="No such state"), status=422)


@pytest.fixture
def publisher(program: Program) -> dict[str, str]:
    return program(Scope.STATUSES_WRITE)


@pytest.fixture
def operator(program: Program) -> dict[str, str]:
    return program(Scope.OPS)


@pytest.fixture
def forge() -> MemoryForge:
    return MemoryForge()


@pytest.fixture
def worker(database: Database, forge: MemoryForge) -> Iterator[StatusHarness]:
    """The stage, to be run step by step."""
    with status_stage(database, forge) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("PUT", URL, Scope.STATUSES_WRITE),
        ("PUT", f"{URL}/batch", Scope.STATUSES_WRITE),
        ("GET", URL, Scope.OPS),
        ("GET", f"{URL}/1", Scope.OPS),
        ("POST", f"{URL}/1/retry", Scope.OPS),
        ("POST", f"{URL}/1/cancel", Scope.OPS),
    ],
)
def test_only_a_program_with_the_scope_gets_in(
    api: httpx.Client, program: Program, person: Person, method: str, path: str, scope: Scope
) -> None:
    without = program(*(one for one in Scope if one is not scope))
    assert api.request(method, path).status_code == 401
    assert api.request(method, path, headers=person("dana")).status_code in {401, 403}
    assert api.request(method, path, headers=without).status_code == 403


def test_what_is_published_last_is_shown_once_a_worker_has_come(
    api: httpx.Client,
    publisher: dict[str, str],
    operator: dict[str, str],
    worker: StatusHarness,
    forge: MemoryForge,
    doorbell: RecordingDoorbell,
) -> None:
    output = {"title": "3 failed", "summary": "See below"}
    first = api.put(URL, json=check_run(), headers=publisher)
    second = api.put(URL, json=check_run(state="failure", output=output), headers=publisher)
    assert (first.status_code, second.status_code) == (202, 202)
    id_ = first.json()["id"]
    assert second.json() == {"id": id_, "version": 2}
    assert doorbell.rings == [STATUSES, STATUSES]
    before = api.get(f"{URL}/{id_}", headers=operator).json()
    assert (before["status"], before["state"], before["applied_state"]) == ("pending", "failure", None)

    worker.drain()

    after = api.get(f"{URL}/{id_}", headers=operator).json()
    assert (after["status"], after["applied_state"], after["applied_version"]) == ("applied", "failure", 2)
    assert (after["replaced"], after["failed_attempts"], after["output"]["title"]) == (1, [], "3 failed")
    assert [call.status.state for call in forge.calls] == ["failure"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"state": "queued"}, "state"),
        ({"colour": "red"}, "colour"),
        ({"sha": "abc123"}, "sha"),
        ({"repository": "acme"}, "repository"),
        ({"output": {"title": "T", "summary": "S"}}, "output"),
        ({"target_url": "javascript:alert(1)"}, "target_url"),
        ({"description": "two\nlines"}, "description"),
        ({"kind": "check_run", "state": "queued", "output": {"title": "T"}}, "output.summary"),
    ],
)
def test_one_wrong_status_is_refused_with_its_field_and_in_a_batch_refuses_all(
    api: httpx.Client, publisher: dict[str, str], worker: StatusHarness, changes: dict[str, Any], field: str
) -> None:
    wrong = wanted(**changes)
    alone = api.put(URL, json=wrong, headers=publisher)
    batch = api.put(f"{URL}/batch", json=[wanted(), wanted(context="two"), wrong], headers=publisher)
    assert (alone.status_code, batch.status_code) == (422, 422)
    assert alone.json()["errors"][0]["field"] == field
    assert [(one["index"], one["field"]) for one in batch.json()["errors"]] == [(2, field)]
    assert worker.targets("id") == []


def test_a_batch_is_stored_whole_and_of_several_for_one_target_the_last_counts(
    api: httpx.Client, publisher: dict[str, str], worker: StatusHarness
) -> None:
    given = [wanted(), wanted(context="ci/lint"), wanted(state="success")]
    said = api.put(f"{URL}/batch", json=given, headers=publisher)
    assert said.status_code == 202
    first, other, last = said.json()["statuses"]
    assert (first["id"], other["version"]) == (last["id"], 1)
    assert worker.targets("context", "state") == [("ci/build", "success"), ("ci/lint", "pending")]
    assert api.put(f"{URL}/batch", json=[], headers=publisher).json() == {"statuses": []}
    many = [wanted(context=f"ci/{number}") for number in range(1001)]
    assert api.put(f"{URL}/batch", json=many, headers=publisher).status_code == 422


def test_a_forge_that_the_file_does_not_name_is_refused(
    context: Context, publisher: dict[str, str], worker: StatusHarness
) -> None:
    known: Any = {"github": None}
    app = build_app(replace(context, forges=Forges(context.database, known)))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        refused = api.put(f"{URL}/batch", json=[wanted(), wanted(forge="gihtub")], headers=publisher)
        assert refused.status_code == 422
        assert [(one["index"], one["field"]) for one in refused.json()["errors"]] == [(1, "forge")]
        assert worker.targets("id") == []
        assert api.put(URL, json=wanted(), headers=publisher).status_code == 202


def test_statuses_are_listed_newest_first_in_pages_and_by_what_they_are(
    api: httpx.Client, publisher: dict[str, str], operator: dict[str, str]
) -> None:
    given = [wanted(context=f"ci/{number}") for number in range(3)] + [wanted(repository="acme/web", sha="b" * 40)]
    ids = [one["id"] for one in api.put(f"{URL}/batch", json=given, headers=publisher).json()["statuses"]]
    found: list[int] = []
    cursor: dict[str, int] = {}
    for _ in range(3):
        page = api.get(URL, params={"limit": 2, **cursor}, headers=operator).json()
        found += [one["id"] for one in page["statuses"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == ids[::-1]
    filters: list[tuple[dict[str, str], list[int]]] = [
        ({"repository": "ACME/web"}, [ids[3]]),
        ({"sha": SHA, "context": "ci/1"}, [ids[1]]),
        ({"forge": "code"}, []),
        ({"status": "dead"}, []),
    ]
    for asked, expected in filters:
        listed = api.get(URL, params=asked, headers=operator).json()["statuses"]
        assert [one["id"] for one in listed] == expected
    for senseless in ({"status": "lost"}, {"limit": "0"}, {"sha": "abc"}, {"colour": "red"}):
        assert api.get(URL, params=senseless, headers=operator).status_code == 422


def test_a_dead_status_says_why_and_is_due_again_once_it_is_retried(
    api: httpx.Client,
    operator: dict[str, str],
    worker: StatusHarness,
    forge: MemoryForge,
    doorbell: RecordingDoorbell,
) -> None:
    forge.before = [DEAD]
    (receipt,) = worker.publish(wanted())
    worker.drain()
    one = f"{URL}/{receipt.id}"

    shown = api.get(one, headers=operator).json()
    assert (shown["status"], shown["outcome_reason"], shown["last_code"]) == ("dead", "invalid", 422)
    assert [(at["outcome"], at["text"]) for at in shown["failed_attempts"]] == [("dead: invalid", "No such state")]
    assert api.post(f"{one}/cancel", headers=operator).status_code == 409
    assert api.post(f"{one}/retry", headers=operator).json()["status"] == "pending"
    assert doorbell.rings == [STATUSES]
    worker.drain()
    assert api.get(one, headers=operator).json()["status"] == "applied"
    assert api.post(f"{one}/retry", headers=operator).status_code == 409


def test_one_that_waits_can_be_given_up(
    api: httpx.Client, operator: dict[str, str], worker: StatusHarness, forge: MemoryForge
) -> None:
    forge.before = [refuses(Unavailable(reason="timeout"))]
    (receipt,) = worker.publish(wanted())
    worker.drain()
    assert api.post(f"{URL}/{receipt.id}/cancel", headers=operator).json()["status"] == "cancelled"
    worker.make_due()
    worker.drain()
    assert worker.targets("status") == [("cancelled",)]
    for path in (f"{URL}/999", f"{URL}/999/retry", f"{URL}/999/cancel"):
        assert api.request("GET" if path.endswith("9") else "POST", path, headers=operator).status_code == 404
