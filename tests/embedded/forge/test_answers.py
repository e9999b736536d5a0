"""What the embedded forge answers to each call that notify makes is as GitHub describes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from notify.embedded.forge.rest import API, BY_ID
from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.workflows import FOLDER, Workflows
from tests.support.forge_calls import app_token, client, running_forge
from tests.support.github import faults

REPOSITORY = "acme/app"
FILE = "rfcs/cap.md"
WORKFLOW = "heads.yml"
APP, INSTALLATION = "app", "installation"

# Who asks, what, and the name of GitHub's schema; * for a list of it.
CALLS = (
    (APP, "/app", "rest:integration"),
    (APP, "/app/installations", "*rest:installation"),
    (APP, f"/repos/{REPOSITORY}/installation", "rest:installation"),
    (APP, "/orgs/acme/installation", "rest:installation"),
    (APP, "/app/hook/deliveries", "*rest:hook-delivery-item"),
    (INSTALLATION, f"/repos/{REPOSITORY}", "rest:full-repository"),
    (INSTALLATION, "/repositories/{repository}", "rest:full-repository"),
    (INSTALLATION, f"/repos/{REPOSITORY}/branches", "*rest:short-branch"),
    (INSTALLATION, f"/repos/{REPOSITORY}/contents/{FILE}", "rest:content-file"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls?state=all&sort=updated", "*rest:pull-request-simple"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/1", "rest:pull-request"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/1/reviews", "*rest:pull-request-review"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/1/reviews/{{review}}", "rest:pull-request-review"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/1/reviews/{{review}}/comments", "*rest:review-comment"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/1/comments", "*rest:pull-request-review-comment"),
    (INSTALLATION, f"/repos/{REPOSITORY}/pulls/comments", "*rest:pull-request-review-comment"),
    (INSTALLATION, f"/repos/{REPOSITORY}/issues/1/comments", "*rest:issue-comment"),
    (INSTALLATION, f"/repos/{REPOSITORY}/issues/comments", "*rest:issue-comment"),
    (INSTALLATION, "/orgs/acme/teams/core/members", "*rest:simple-user"),
    (INSTALLATION, f"/repos/{REPOSITORY}/commits/{{sha}}/pulls", "*rest:pull-request-simple"),
    (INSTALLATION, f"/repos/{REPOSITORY}/commits/{{sha}}/statuses", "*rest:status"),
    (INSTALLATION, f"/repos/{REPOSITORY}/commits/{{sha}}/status", "rest:combined-commit-status"),
    (INSTALLATION, f"/repos/{REPOSITORY}/check-runs/{{run}}", "rest:check-run"),
    (INSTALLATION, f"/repos/{REPOSITORY}/check-runs/{{run}}/annotations", "*rest:check-annotation"),
    (INSTALLATION, f"/repos/{REPOSITORY}/issues/1/labels", "*rest:label"),
    (INSTALLATION, f"/repos/{REPOSITORY}/actions/runs/{{workflow_run}}", "rest:workflow-run"),
)


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[EmbeddedForge]:
    """A forge on which something of each kind is to be read."""
    with running_forge(tmp_path) as running:
        state = running.state
        state.add_repository(REPOSITORY)
        state.teams["acme/core"] = ["dana"]
        state.put_file(REPOSITORY, FILE, "---\nslug: cap\n---\n", by="alice")
        state.put_file(REPOSITORY, f"{FOLDER}/{WORKFLOW}", "on: workflow_dispatch\n", by="alice")
        state.open_pull(REPOSITORY, by="alice", title="Cap the retry", head="cap")
        state.request_review(REPOSITORY, 1, by="alice", logins=["bob"], teams=["core"])
        state.comment(REPOSITORY, 1, by="carol", body="Why?")
        said = [{"path": "retry.py", "line": 3, "body": "Here."}]
        state.review(REPOSITORY, 1, by="bob", state="CHANGES_REQUESTED", comments=said)
        state.add_labels(REPOSITORY, 1, by="bob", names=["slow"])
        yield running


@pytest.fixture
def app(forge: EmbeddedForge, tmp_path: Path) -> Iterator[httpx.Client]:
    with client(forge, app_token(tmp_path)) as calling:
        yield calling


def exchanged(app: httpx.Client) -> dict[str, Any]:
    """The answer to the exchange of an app's token for an installation's."""
    id_ = app.get(f"/repos/{REPOSITORY}/installation").json()["id"]
    answer: dict[str, Any] = app.post(f"/app/installations/{id_}/access_tokens").raise_for_status().json()
    return answer


@pytest.fixture
def installation(forge: EmbeddedForge, app: httpx.Client) -> Iterator[httpx.Client]:
    with client(forge, exchanged(app)["token"]) as calling:
        yield calling


def told(installation: httpx.Client, sha: str) -> list[httpx.Response]:
    """The answers to a status and to a check run that are set."""
    status = {"state": "failure", "context": "ci/unit", "description": "One failed", "target_url": "https://ci.example"}
    note = {"path": "a.py", "start_line": 1, "end_line": 2, "annotation_level": "warning", "message": "Slow"}
    output = {"title": "Slow", "summary": "One is slow.", "annotations": [note]}
    run = {"name": "lint", "head_sha": sha, "external_id": "7", "status": "in_progress", "output": output}
    return [
        installation.post(f"/repos/{REPOSITORY}/statuses/{sha}", json=status),
        installation.post(f"/repos/{REPOSITORY}/check-runs", json=run),
    ]


def test_every_answer_is_as_github_describes_it(
    forge: EmbeddedForge, app: httpx.Client, installation: httpx.Client
) -> None:
    repository = forge.state.repository(REPOSITORY)
    pull = repository.pulls[1]
    facts = {
        "repository": repository.id,
        "review": pull.reviews[0].id,
        "sha": pull.head_sha,
        "run": told(installation, pull.head_sha)[1].json()["id"],
        "workflow_run": Workflows(forge.state).start(REPOSITORY, WORKFLOW, branch="main", by="alice").id,
    }
    found = {}
    for who, path, name in CALLS:
        answer = (installation if who == INSTALLATION else app).get(path.format(**facts))
        assert answer.status_code == httpx.codes.OK, answer.text
        found[path] = faults(name, answer.json())
    assert {path: words for path, words in found.items() if words} == {}


def test_what_sets_a_status_is_answered_as_github_describes_it(
    forge: EmbeddedForge, installation: httpx.Client
) -> None:
    sha = forge.state.repository(REPOSITORY).pulls[1].head_sha
    status, run = told(installation, sha)
    assert (status.status_code, faults("rest:status", status.json())) == (201, [])
    assert (run.status_code, faults("rest:check-run", run.json())) == (201, [])
    listed = installation.get(f"/repos/{REPOSITORY}/commits/{sha}/check-runs").json()
    assert (listed["total_count"], faults("*rest:check-run", listed["check_runs"])) == (1, [])
    done = installation.patch(f"/repos/{REPOSITORY}/check-runs/{run.json()['id']}", json={"conclusion": "success"})
    assert (done.status_code, faults("rest:check-run", done.json())) == (200, [])
    labelled = installation.post(f"/repos/{REPOSITORY}/issues/1/labels", json={"labels": ["broken"]})
    assert (labelled.status_code, faults("*rest:label", labelled.json())) == (200, [])
    bare = installation.delete(f"/repos/{REPOSITORY}/issues/1/labels/broken")
    assert (bare.status_code, faults("*rest:label", bare.json())) == (200, [])


def test_what_starts_and_cancels_a_workflow_is_answered_as_github_describes_it(
    forge: EmbeddedForge, installation: httpx.Client
) -> None:
    started = installation.post(
        f"/repos/{REPOSITORY}/actions/workflows/{WORKFLOW}/dispatches",
        json={"ref": "main", "return_run_details": True},
    )
    assert (started.status_code, faults("rest:workflow-dispatch-response", started.json())) == (200, [])
    run = f"/repos/{REPOSITORY}/actions/runs/{started.json()['workflow_run_id']}"
    assert started.json()["run_url"] == f"{forge.url}/api/v3{run}"
    listed = installation.get(f"/repos/{REPOSITORY}/actions/workflows/{WORKFLOW}/runs").json()
    assert (listed["total_count"], faults("*rest:workflow-run", listed["workflow_runs"])) == (1, [])
    cancelled = installation.post(f"{run}/cancel")
    assert (cancelled.status_code, faults("rest:empty-object", cancelled.json())) == (202, [])
    assert faults("rest:workflow-run", installation.get(run).json()) == []
    again = installation.post(f"{run}/cancel")
    assert (again.status_code, faults("rest:basic-error", again.json())) == (409, [])


def test_errors_are_as_github_describes_them(forge: EmbeddedForge, installation: httpx.Client) -> None:
    sha = forge.state.repository(REPOSITORY).pulls[1].head_sha
    invalid = installation.post(f"/repos/{REPOSITORY}/statuses/{sha}", json={"state": "fine"})
    assert (invalid.status_code, faults("rest:validation-error", invalid.json())) == (422, [])
    missing = installation.post(f"/repos/{REPOSITORY}/statuses/{'0' * 40}", json={"state": "success"})
    assert (missing.status_code, faults("rest:validation-error", missing.json())) == (422, [])
    unknown = installation.get(f"/repos/{REPOSITORY}/check-runs/1")
    assert (unknown.status_code, faults("rest:basic-error", unknown.json())) == (404, [])


def test_a_token_is_as_github_describes_it(forge: EmbeddedForge, app: httpx.Client) -> None:
    answer = exchanged(app)
    assert faults("rest:installation-token", answer) == []
    headers = {"Authorization": f"Bearer {answer['token']}"}
    listed = app.get("/installation/repositories", headers=headers).json()
    assert listed["total_count"] == len(listed["repositories"]) == len(forge.state.repositories)
    assert faults("*rest:repository", listed["repositories"]) == []


def test_an_answer_that_lacks_something_is_found(app: httpx.Client) -> None:
    token = exchanged(app)
    del token["expires_at"]
    assert faults("rest:installation-token", token) == [': "expires_at" is a required property']


def test_every_call_of_notify_is_held_against_a_description(forge: EmbeddedForge) -> None:
    """Whatever route is added to the forge for notify to read is to be listed here."""
    elsewhere = {
        "/installation/repositories",
        f"/repos/{REPOSITORY}/commits/1/check-runs",
        f"/repos/{REPOSITORY}/actions/workflows/{WORKFLOW}/runs",
    }
    asked = {path.partition("?")[0] for _, path, _ in CALLS} | elsewhere
    routes = [one for one in forge.rest.router().routes if isinstance(one, APIRoute) and one.methods == {"GET"}]
    named = [one for one in routes if not one.path.startswith(f"{API}{BY_ID}/")]
    assert [one.path for one in named if not any(one.path_regex.fullmatch(f"{API}{path}") for path in asked)] == []
