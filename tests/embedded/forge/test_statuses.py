"""The embedded forge takes statuses as GitHub does, shows the newest of each context, and keeps every call."""

from typing import Any

import httpx

from notify.embedded.forge.routes.status_routes import MOST_OF_A_CONTEXT
from notify.embedded.forge.server import EmbeddedForge
from tests.embedded.forge.conftest import REPOSITORY
from tests.support.forge_calls import client
from tests.support.github import faults

Body = dict[str, Any]

TAKEN: tuple[Body, ...] = (
    {"state": "success"},
    {"state": "pending", "context": "ci", "description": "x" * 140, "target_url": "https://ci.example/1"},
    {"state": "error", "description": None, "target_url": None},
    {"state": "failure", "description": "é" * 140},
)
REFUSED_BY_ITS_FORM: tuple[Body, ...] = ({}, {"state": "warning"}, {"state": "success", "description": 7})
# GitHub refuses these, but its description does not say so.
REFUSED_BY_A_RULE: tuple[Body, ...] = (
    {"state": "success", "description": "x" * 141},
    {"state": "success", "context": "c" * 256},
    {"state": "success", "target_url": "ftp://ci.example"},
)


def test_statuses_are_taken_and_refused_as_github_does(calls: httpx.Client, sha: str) -> None:
    for body in TAKEN + REFUSED_BY_ITS_FORM + REFUSED_BY_A_RULE:
        assert calls.post(f"/statuses/{sha}", json=body).status_code == (201 if body in TAKEN else 422), body
        assert (faults("request:create-status", body) != []) is (body in REFUSED_BY_ITS_FORM), body


def test_the_newest_status_of_each_context_makes_the_combined_state(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    def combined() -> str:
        state: str = calls.get(f"/commits/{sha}/status").json()["state"]
        return state

    assert combined() == "pending", "nothing is known yet"
    for context, state in (("a", "failure"), ("b", "pending"), ("A", "success")):
        calls.post(f"/statuses/{sha}", json={"state": state, "context": context}).raise_for_status()
    assert combined() == "pending"
    calls.post(f"/statuses/{sha}", json={"state": "success", "context": "b"}).raise_for_status()
    assert combined() == "success"
    calls.post(f"/statuses/{sha}", json={"state": "error", "context": "c"}).raise_for_status()
    assert combined() == "failure"
    listed = calls.get(f"/commits/{sha}/statuses").json()
    assert [one["state"] for one in listed] == ["error", "success", "success", "pending", "failure"]
    kept = pulled.state.statuses.of(pulled.state.repository(REPOSITORY).id, sha, "a")
    assert [one.state for one in kept] == ["failure", "success"], "also the one that was replaced"


def test_a_branch_names_its_newest_commit(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    calls.post(f"/statuses/{sha}", json={"state": "success"}).raise_for_status()
    assert [one["context"] for one in calls.get("/commits/cap/statuses").json()] == ["default"]
    pulled.state.push(REPOSITORY, "cap", by="alice")
    assert calls.get("/commits/cap/statuses").json() == []
    assert len(calls.get(f"/commits/{sha}/statuses").json()) == 1


def test_statuses_come_in_pages(calls: httpx.Client, sha: str) -> None:
    for number in range(5):
        calls.post(f"/statuses/{sha}", json={"state": "success", "context": f"c{number}"}).raise_for_status()
    seen, url = [], f"{calls.base_url}commits/{sha}/statuses?per_page=2"
    while url:
        answer = calls.get(url)
        seen += [one["context"] for one in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == ["c4", "c3", "c2", "c1", "c0"]


def test_a_commit_that_nobody_pushed_gets_nothing(calls: httpx.Client) -> None:
    sha = "f" * 40
    asked = (
        calls.post(f"/statuses/{sha}", json={"state": "success"}),
        calls.post("/check-runs", json={"name": "lint", "head_sha": sha}),
        calls.get(f"/commits/{sha}/statuses"),
        calls.get(f"/commits/{sha}/check-runs"),
    )
    assert {(one.status_code, one.json()["message"]) for one in asked} == {(422, f"No commit found for SHA: {sha}")}


def test_a_context_takes_a_thousand_statuses_of_a_commit(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    calls.post(f"/statuses/{sha}", json={"state": "pending", "context": "ci"}).raise_for_status()
    ledger = pulled.state.statuses
    for _ in range(MOST_OF_A_CONTEXT - 1):
        ledger.restore(ledger.calls[0])
    assert calls.post(f"/statuses/{sha}", json={"state": "success", "context": "ci"}).status_code == 422
    assert calls.post(f"/statuses/{sha}", json={"state": "success", "context": "other"}).status_code == 201


def test_a_person_may_set_a_status_but_no_check_run(pulled: EmbeddedForge, sha: str) -> None:
    with client(pulled, "person_alice") as alice:
        status = alice.post(f"/repos/{REPOSITORY}/statuses/{sha}", json={"state": "success"})
        assert status.json()["creator"]["login"] == "alice"
        run = alice.post(f"/repos/{REPOSITORY}/check-runs", json={"name": "lint", "head_sha": sha})
        assert run.status_code == 403
    assert [one.by for one in pulled.state.statuses.calls] == ["alice"]


def test_pull_requests_are_found_by_every_commit_that_they_had(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    newer = pulled.state.push(REPOSITORY, "cap", by="alice")
    merged = pulled.state.merge(REPOSITORY, 1, by="bob")
    pulled.state.open_pull(REPOSITORY, by="alice", title="Another", head="other")
    for one in (sha, newer, merged):
        assert [pull["number"] for pull in calls.get(f"/commits/{one}/pulls").json()] == [1]


def test_labels_are_put_on_and_taken_off_without_regard_to_case(pulled: EmbeddedForge, calls: httpx.Client) -> None:
    calls.post("/issues/1/labels", json={"labels": ["Broken", "slow"]}).raise_for_status()
    calls.post("/issues/1/labels", json=["BROKEN"]).raise_for_status()
    assert [one["name"] for one in calls.get("/pulls/1").json()["labels"]] == ["Broken", "slow"]
    assert [one["name"] for one in calls.delete("/issues/1/labels/broken").json()] == ["slow"]
    assert calls.delete("/issues/1/labels/broken").status_code == 404
    assert [one["name"] for one in calls.get("/issues/1/labels").json()] == ["slow"]
    assert [one.action for one in pulled.hooks.deliveries[-3:]] == ["labeled", "labeled", "unlabeled"]


def test_a_renamed_repository_leads_every_method_to_its_new_place(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    run = calls.post("/check-runs", json={"name": "lint", "head_sha": sha}).json()["id"]
    pulled.state.rename(REPOSITORY, "acme/application")
    asked = (
        ("POST", f"/statuses/{sha}", {"state": "success"}, 307),
        ("PATCH", f"/check-runs/{run}", {"conclusion": "success"}, 307),
        ("GET", f"/commits/{sha}/check-runs?check_name=none", None, 301),
    )
    for method, path, body, status in asked:
        moved = calls.request(method, path, json=body)
        assert moved.status_code == status
        again = calls.request(method, moved.headers["location"], json=body)
        assert again.is_success, again.text
    assert again.json()["total_count"] == 0, "the query goes along"
    assert [one.state for one in pulled.state.statuses.calls] == ["queued", "success", "success"]
