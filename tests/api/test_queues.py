"""Queues by HTTP: a head is taken in, its build is reported, and what is known of it can be read."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from notify.api.app import build_app
from notify.domain.heads import BuildStatus
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from tests.support.callers import Program
from tests.support.in_process import InProcess
from tests.support.queues import MAIN, World, queue_settings, world_of

QUEUE = "monorepo/main"


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    made = world_of(database, queue_settings())
    yield made
    made.stage.stop()


@pytest.fixture
def ci(context: Context, world: World, program: Program) -> Iterator[httpx.Client]:
    """A program that reports builds."""
    app = build_app(replace(context, queues=world.queues))
    headers = program(Scope.EVENTS_WRITE)
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test", headers=headers) as client:
        yield client


def taken_in(ci: httpx.Client, world: World) -> str:
    """The build of a head that was pushed and taken in."""
    world.push()
    answer = ci.post("/api/v1/ingest", json={"queue": QUEUE})
    assert answer.status_code == 202
    assert answer.json() == {"id": f"request/{QUEUE}/1"}
    world.drain()
    (build,) = world.runner.builds
    return build


def test_a_head_is_taken_in_once(ci: httpx.Client, world: World) -> None:
    taken_in(ci, world)
    assert ci.post("/api/v1/ingest", json={"queue": QUEUE}).json() == {"id": f"request/{QUEUE}/1"}


@pytest.mark.parametrize(
    ("queue", "status"), [("", 422), ("-x", 422), ("a b", 422), ("monorepo/next", 404), (QUEUE, 422)]
)
def test_a_queue_that_is_unknown_or_empty_stores_nothing(
    ci: httpx.Client, world: World, queue: str, status: int
) -> None:
    assert ci.post("/api/v1/ingest", json={"queue": queue}).status_code == status
    assert world.items() == []


def test_a_reported_build_ends_its_request_and_is_read_everywhere(ci: httpx.Client, world: World) -> None:
    build = taken_in(ci, world)
    report = {"status": "failure", "url": "https://ci.example/1", "projects": [{"name": "api", "degree": 0.5}]}
    answer = ci.post(f"/api/v1/builds/{QUEUE}/{build}", json=report)
    assert (answer.status_code, answer.json()["status"]) == (202, "failure")
    world.stage.drain()
    request = ci.get(f"/api/v1/requests/{QUEUE}/1").json()
    assert (request["state"], request["build_url"], request["forced"]) == ("failed", "https://ci.example/1", False)
    (head,) = ci.get(f"/api/v1/queues/{QUEUE}/history").json()["heads"]
    assert (head["degree"], head["projects"], head["state"]) == (0.5, {"api": 0.5}, "failed")
    asked = {"uri": request["uri"], "project": "api"}
    assert ci.get(f"/api/v1/queues/{QUEUE}/greenness", params=asked).json()["degree"] == 0.5
    assert ci.get(f"/api/v1/queues/{QUEUE}").json()["last_green_uri"] is None


def test_a_build_has_one_end(ci: httpx.Client, world: World) -> None:
    build = taken_in(ci, world)
    for status in ("success", "failure", "running"):
        answer = ci.post(f"/api/v1/builds/{QUEUE}/{build}", json={"status": status})
        assert (answer.status_code, answer.json()["status"]) == (202, "success")


def test_a_build_that_nobody_started_is_not_found(ci: httpx.Client, world: World) -> None:
    taken_in(ci, world)
    assert ci.post(f"/api/v1/builds/{QUEUE}/other", json={"status": "success"}).status_code == 404


def test_a_head_of_which_nothing_was_found_out_is_retried(ci: httpx.Client, world: World) -> None:
    build = taken_in(ci, world)
    ci.post(f"/api/v1/builds/{QUEUE}/{build}", json={"status": "unexpected_error"})
    world.stage.drain()
    answer = ci.post(f"/api/v1/queues/{QUEUE}/retry")
    assert (answer.status_code, answer.json()) == (202, {"id": f"request/{QUEUE}/2"})
    world.drain()
    states = [ci.get(f"/api/v1/requests/{QUEUE}/{number}").json()["state"] for number in (1, 2)]
    assert states == ["failed", "processing"]


def test_a_retry_that_is_refused_says_why(ci: httpx.Client, world: World) -> None:
    taken_in(ci, world)
    answer = ci.post(f"/api/v1/queues/{QUEUE}/retry")
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert f"request/{QUEUE}/1" in answer.json()["detail"]
    assert ci.post("/api/v1/queues/monorepo/next/retry").status_code == 404
    world.remotes[QUEUE].delete(MAIN)
    ci.post(f"/api/v1/builds/{QUEUE}/{next(iter(world.runner.builds))}", json={"status": "cancelled"})
    world.stage.drain()
    assert ci.post(f"/api/v1/queues/{QUEUE}/retry").status_code == 422


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"status": "green"},
        {"status": "failure", "projects": [{"name": "api", "degree": 2}]},
        {"status": "failure", "projects": [{"name": "api"}]},
        {"status": "failure", "done": True},
    ],
)
def test_a_report_that_makes_no_sense_is_refused(ci: httpx.Client, world: World, report: dict[str, object]) -> None:
    build = taken_in(ci, world)
    assert ci.post(f"/api/v1/builds/{QUEUE}/{build}", json=report).status_code == 422
    assert world.stores.builds.get(QUEUE, build).status is BuildStatus.RUNNING


def test_queues_are_listed_with_their_last_green_head(ci: httpx.Client, world: World) -> None:
    build = taken_in(ci, world)
    ci.post(f"/api/v1/builds/{QUEUE}/{build}", json={"status": "success"})
    world.stage.drain()
    (queue,) = ci.get("/api/v1/queues").json()
    assert (queue["name"], queue["last_green_request_id"], queue["unfinished"]) == (QUEUE, 1, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/queues/monorepo/next",
        "/api/v1/queues/monorepo/next/history",
        f"/api/v1/requests/{QUEUE}/99",
        f"/api/v1/queues/{QUEUE}/greenness?uri=git://host/repo",
    ],
)
def test_what_is_not_there_is_not_found(ci: httpx.Client, world: World, path: str) -> None:
    world.push()
    assert ci.get(path).status_code == 404


def test_other_scopes_may_not_report_builds(ci: httpx.Client, program: Program) -> None:
    for scope in (Scope.OPS, Scope.DIRECTORY_WRITE):
        for path in ("/api/v1/ingest", f"/api/v1/builds/{QUEUE}/b", f"/api/v1/queues/{QUEUE}/retry"):
            assert ci.post(path, json={}, headers=program(scope)).status_code == 403
    assert ci.get("/api/v1/queues", headers=program(Scope.OPS)).status_code == 200
    assert ci.get("/api/v1/queues", headers=program(Scope.DIRECTORY_WRITE)).status_code == 403
