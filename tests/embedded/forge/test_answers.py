"""What the embedded forge answers to each call that notify makes is as GitHub describes it."""

from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import httpx
import jwt
import pytest
from fastapi.routing import APIRoute

from notify.embedded.forge.server import APP_ID, KEY_FILE, EmbeddedForge, forging
from tests.support.github import faults

REPOSITORY = "acme/app"
FILE = "rfcs/cap.md"
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
)


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[EmbeddedForge]:
    """A forge on which something of each kind is to be read."""
    with forging(tmp_path, webhook_url=None) as running:
        state = running.state
        state.add_repository(REPOSITORY)
        state.teams["acme/core"] = ["dana"]
        state.put_file(REPOSITORY, FILE, "---\nslug: cap\n---\n", by="alice")
        state.open_pull(REPOSITORY, by="alice", title="Cap the retry", head="cap")
        state.request_review(REPOSITORY, 1, by="alice", logins=["bob"], teams=["core"])
        state.comment(REPOSITORY, 1, by="carol", body="Why?")
        said = [{"path": "retry.py", "line": 3, "body": "Here."}]
        state.review(REPOSITORY, 1, by="bob", state="CHANGES_REQUESTED", comments=said)
        yield running


@pytest.fixture
def app(forge: EmbeddedForge, tmp_path: Path) -> Iterator[httpx.Client]:
    claims = {"iat": int(time()) - 60, "exp": int(time()) + 540, "iss": str(APP_ID)}
    token = jwt.encode(claims, (tmp_path / KEY_FILE).read_text(), algorithm="RS256")
    with httpx.Client(base_url=f"{forge.url}/api/v3", headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def exchanged(app: httpx.Client) -> dict[str, Any]:
    """The answer to the exchange of an app's token for an installation's."""
    id_ = app.get(f"/repos/{REPOSITORY}/installation").json()["id"]
    answer: dict[str, Any] = app.post(f"/app/installations/{id_}/access_tokens").raise_for_status().json()
    return answer


@pytest.mark.parametrize(("who", "path", "name"), CALLS)
def test_an_answer_is_as_github_describes_it(
    forge: EmbeddedForge, app: httpx.Client, who: str, path: str, name: str
) -> None:
    pull = forge.state.repository(REPOSITORY).pulls[1]
    path = path.format(repository=forge.state.repository(REPOSITORY).id, review=pull.reviews[0].id)
    headers = {"Authorization": f"Bearer {exchanged(app)['token']}"} if who == INSTALLATION else {}
    answer = app.get(path, headers=headers)
    assert answer.status_code == httpx.codes.OK, answer.text
    assert faults(name, answer.json()) == []


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
    asked = {path.partition("?")[0] for _, path, _ in CALLS} | {"/installation/repositories"}
    routes = [one for one in forge.rest.router().routes if isinstance(one, APIRoute) and one.methods == {"GET"}]
    assert [one.path for one in routes if not any(one.path_regex.fullmatch(f"/api/v3{path}") for path in asked)] == []
