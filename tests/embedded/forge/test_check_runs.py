"""The embedded forge makes and changes check runs as GitHub does."""

from typing import Any

import httpx

from notify.embedded.forge.server import APP_ID, EmbeddedForge
from tests.embedded.forge.conftest import REPOSITORY
from tests.support.github import faults

NOTE = {"path": "a.py", "start_line": 3, "end_line": 4, "annotation_level": "warning", "message": "Slow"}
SAID = {"title": "Slow", "summary": "s"}

Body = dict[str, Any]

# What stands in the body besides name and commit.
TAKEN: tuple[Body, ...] = (
    {},
    {"status": "in_progress", "started_at": "2026-01-02T03:04:05Z"},
    {"conclusion": "timed_out", "completed_at": "2026-01-02T03:04:05+02:00"},
    {"output": {"title": "t", "summary": "s" * 65_535, "text": "t" * 65_535, "annotations": [NOTE] * 50}},
    {"output": {**SAID, "annotations": [{**NOTE, "title": "t", "raw_details": "d", "start_column": 1}]}},
)
REFUSED_BY_ITS_FORM: tuple[Body, ...] = (
    {"name": None},
    {"status": "done"},
    {"conclusion": "error"},
    {"output": {"summary": "s"}},
    {"output": {**SAID, "summary": "s" * 65_536}},
    {"output": {**SAID, "text": "t" * 65_536}},
    {"output": {**SAID, "annotations": [NOTE] * 51}},
    {"output": {**SAID, "annotations": [{**NOTE, "annotation_level": "error"}]}},
    {"output": {**SAID, "annotations": [{"path": "a.py"}]}},
)
# GitHub refuses these, but the form that it describes allows them.
REFUSED_BY_A_RULE: tuple[Body, ...] = (
    {"name": ""},
    {"status": "completed"},
    {"completed_at": "2026-01-02T03:04:05Z"},
    {"conclusion": "stale"},
    {"started_at": "yesterday"},
    {"details_url": "javascript:alert(1)"},
    {"output": {**SAID, "annotations": [{**NOTE, "end_line": 2}]}},
)


def test_check_runs_are_taken_and_refused_as_github_does(calls: httpx.Client, sha: str) -> None:
    for more in TAKEN + REFUSED_BY_ITS_FORM + REFUSED_BY_A_RULE:
        body = {"name": "lint", "head_sha": sha, **more}
        assert calls.post("/check-runs", json=body).status_code == (201 if more in TAKEN else 422), more
        assert (faults("request:create-check-run", body) != []) is (more in REFUSED_BY_ITS_FORM), more


def test_what_a_patch_does_not_mention_stays_and_annotations_add_up(calls: httpx.Client, sha: str) -> None:
    said = {"title": "Slow", "summary": "One", "text": "More", "annotations": [NOTE] * 50}
    made = calls.post(
        "/check-runs",
        json={"name": "lint", "head_sha": sha, "external_id": "7", "status": "in_progress", "output": said},
    ).json()
    path = f"/check-runs/{made['id']}"
    changed = calls.patch(path, json={"output": {"summary": "Two", "annotations": [NOTE] * 3}}).json()
    assert {name: changed[name] for name in ("name", "external_id", "status", "started_at")} == {
        name: made[name] for name in ("name", "external_id", "status", "started_at")
    }
    output = changed["output"]
    assert (output["title"], output["summary"], output["text"]) == ("Slow", "Two", "More")
    assert output["annotations_count"] == 53
    assert len(calls.get(f"{path}/annotations?per_page=100").json()) == 53
    assert calls.get(path).json() == changed


def test_a_conclusion_completes_a_check_run_and_a_later_start_opens_it_again(calls: httpx.Client, sha: str) -> None:
    made = calls.post("/check-runs", json={"name": "lint", "head_sha": sha}).json()
    assert (made["status"], made["conclusion"], made["completed_at"]) == ("queued", None, None)
    path = f"/check-runs/{made['id']}"
    done = calls.patch(path, json={"conclusion": "cancelled"}).json()
    assert (done["status"], done["conclusion"], done["completed_at"] is None) == ("completed", "cancelled", False)
    again = calls.patch(path, json={"status": "in_progress"}).json()
    assert (again["status"], again["conclusion"], again["completed_at"]) == ("in_progress", None, None)


def test_a_check_run_is_found_by_its_name_the_newest_or_all(calls: httpx.Client, sha: str) -> None:
    for name, external_id in (("lint", "1"), ("unit", "2"), ("lint", "3")):
        calls.post("/check-runs", json={"name": name, "head_sha": sha, "external_id": external_id}).raise_for_status()

    def found(**asked: str) -> list[str]:
        answer = calls.get(f"/commits/{sha}/check-runs", params=asked).json()
        ids = [one["external_id"] for one in answer["check_runs"]]
        assert answer["total_count"] == len(ids)
        return ids

    assert found() == ["3", "2"]
    assert found(filter="all") == ["3", "2", "1"]
    assert found(check_name="lint") == ["3"]
    assert found(app_id=str(APP_ID)) == ["3", "2"]
    assert found(app_id=str(APP_ID + 1)) == [], "only this app shows anything here"
    assert found(check_name="lint", filter="all") == ["3", "1"]
    page = calls.get(f"/commits/{sha}/check-runs", params={"filter": "all", "per_page": "2"})
    assert (page.json()["total_count"], len(page.json()["check_runs"])) == (3, 2)
    rest = calls.get(page.links["next"]["url"]).json()
    assert [one["external_id"] for one in rest["check_runs"]] == ["1"]


def test_a_check_run_names_the_open_pull_requests_of_its_commit(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    made = calls.post("/check-runs", json={"name": "lint", "head_sha": sha}).json()
    assert [one["number"] for one in made["pull_requests"]] == [1]
    pulled.state.push(REPOSITORY, "cap", by="alice")
    assert calls.get(f"/check-runs/{made['id']}").json()["pull_requests"] == []


def test_another_repositorys_check_run_is_not_found(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    made = calls.post("/check-runs", json={"name": "lint", "head_sha": sha}).json()
    pulled.state.add_repository("acme/tools")
    elsewhere = f"{pulled.url}/api/v3/repos/acme/tools/check-runs/{made['id']}"
    assert calls.patch(elsewhere, json={"conclusion": "success"}).status_code == 404
    assert calls.get(f"/check-runs/{made['id']}").json()["status"] == "queued"
