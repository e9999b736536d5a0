"""The embedded forge starts, lists and cancels runs of workflows as GitHub does."""

from typing import Any

import httpx
import pytest

from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.workflows import FOLDER, HasEnded, Workflows
from tests.embedded.forge.conftest import REPOSITORY
from tests.support.github import faults

FILE, WITHOUT_TRIGGER = "heads.yml", "nightly.yml"
DISPATCHES = f"/actions/workflows/{FILE}/dispatches"
RUNS = f"/actions/workflows/{FILE}/runs"
DEFINITION = """
name: Validate a head
run-name: Head ${{ inputs.request }}
on: workflow_dispatch
"""

Body = dict[str, Any]

TAKEN: tuple[Body, ...] = (
    {"ref": "main"},
    {"ref": "refs/heads/main", "inputs": {}},
    {"ref": "cap", "inputs": {f"input{number}": "x" for number in range(25)}},
)
REFUSED_BY_ITS_FORM: tuple[Body, ...] = (
    {},
    {"ref": 7},
    {"ref": "main", "inputs": ["x"]},
    {"ref": "main", "inputs": {f"input{number}": "x" for number in range(26)}},
)
# GitHub refuses these, but the form that it describes allows them.
REFUSED_BY_A_RULE: tuple[Body, ...] = ({"ref": ""}, {"ref": "nothing"}, {"ref": "refs/tags/main"})


@pytest.fixture(autouse=True)
def workflows(pulled: EmbeddedForge) -> Workflows:
    """Two workflows, of which one can be started by a call."""
    pulled.state.put_file(REPOSITORY, f"{FOLDER}/{FILE}", DEFINITION, by="alice")
    pulled.state.put_file(REPOSITORY, f"{FOLDER}/{WITHOUT_TRIGGER}", "on: push\n", by="alice")
    return Workflows(pulled.state)


def start(calls: httpx.Client, request: str) -> int:
    body = {"ref": "main", "inputs": {"request": request}, "return_run_details": True}
    id_: int = calls.post(DISPATCHES, json=body).raise_for_status().json()["workflow_run_id"]
    return id_


def test_workflows_are_started_and_refused_as_github_does(calls: httpx.Client) -> None:
    for body in TAKEN + REFUSED_BY_ITS_FORM + REFUSED_BY_A_RULE:
        answer = calls.post(DISPATCHES, json=body)
        assert answer.status_code == (204 if body in TAKEN else 422), body
        assert (faults("request:dispatch-workflow", body) != []) is (body in REFUSED_BY_ITS_FORM), body
    assert calls.get(RUNS).json()["total_count"] == len(TAKEN), "what was refused started nothing"


def test_only_a_workflow_that_the_repository_has_and_that_lets_itself_be_started_is(calls: httpx.Client) -> None:
    refused = calls.post(f"/actions/workflows/{WITHOUT_TRIGGER}/dispatches", json={"ref": "main"})
    assert (refused.status_code, faults("rest:basic-error", refused.json())) == (422, [])
    assert calls.post("/actions/workflows/none.yml/dispatches", json={"ref": "main"}).status_code == 404
    assert calls.get("/actions/workflows/none.yml/runs").status_code == 404


def test_a_run_is_listed_under_the_name_that_its_workflow_makes_of_the_inputs(
    pulled: EmbeddedForge, calls: httpx.Client
) -> None:
    run = calls.get(f"/actions/runs/{start(calls, 'request/q/1')}").json()
    assert (run["display_title"], run["name"], run["status"]) == ("Head request/q/1", "Validate a head", "queued")
    assert (run["head_branch"], run["head_sha"]) == ("main", pulled.state.repository(REPOSITORY).branches["main"])
    pulled.state.put_file(REPOSITORY, f"{FOLDER}/{FILE}", "on: workflow_dispatch\n", by="alice")
    assert calls.get(f"/actions/runs/{start(calls, 'request/q/2')}").json()["display_title"] == "heads"


def test_runs_are_listed_by_workflow_the_newest_first_in_pages(calls: httpx.Client) -> None:
    ids = [start(calls, f"request/q/{number}") for number in range(3)]
    page = calls.get(RUNS, params={"per_page": "2", "event": "workflow_dispatch"})
    assert (page.json()["total_count"], [one["id"] for one in page.json()["workflow_runs"]]) == (3, [ids[2], ids[1]])
    rest = calls.get(page.links["next"]["url"]).json()["workflow_runs"]
    assert [(one["id"], one["run_number"]) for one in rest] == [(ids[0], 1)]
    assert calls.get(RUNS, params={"event": "push"}).json()["workflow_runs"] == []
    assert calls.get(f"/actions/workflows/{WITHOUT_TRIGGER}/runs").json()["workflow_runs"] == []


def test_a_run_ends_once(workflows: Workflows, calls: httpx.Client) -> None:
    first, second = start(calls, "request/q/1"), start(calls, "request/q/2")
    workflows.end(REPOSITORY, first, "timed_out")
    assert calls.post(f"/actions/runs/{first}/cancel").status_code == 409
    with pytest.raises(HasEnded):
        workflows.end(REPOSITORY, first, "success")
    assert calls.post(f"/actions/runs/{second}/cancel").status_code == 202
    ended = [calls.get(f"/actions/runs/{one}").json() for one in (first, second)]
    assert [(one["status"], one["conclusion"]) for one in ended] == [
        ("completed", "timed_out"),
        ("completed", "cancelled"),
    ]


def test_another_repositorys_run_is_not_found(pulled: EmbeddedForge, calls: httpx.Client) -> None:
    id_ = start(calls, "request/q/1")
    pulled.state.add_repository("acme/tools")
    elsewhere = f"{pulled.url}/api/v3/repos/acme/tools/actions/runs/{id_}"
    assert (calls.get(elsewhere).status_code, calls.post(f"{elsewhere}/cancel").status_code) == (404, 404)
    assert calls.get(f"/actions/runs/{id_}").json()["status"] == "queued"
