"""The embedded forge says nothing that GitHub's own descriptions would not let GitHub say."""

from typing import Any

import pytest

from notify.embedded.forge.records import Repository
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.workflows import FOLDER, Workflows
from tests.support.github import faults

REPOSITORY = "acme/app"


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    """The webhooks of a pull request to which everything happens, each with its name."""
    state = ForgeState()
    shapes = Shapes(state, "http://127.0.0.1:8030", app_id=1)
    webhooks: list[tuple[str, dict[str, Any]]] = []

    def tell(event: str, repository: Repository, sender: str, facts: dict[str, Any]) -> None:
        name = "push$event" if event == "push" else f"{event}${facts['action']}"
        webhooks.append((name, shapes.payloads.payload(event, repository, sender, facts)))

    state.tell = tell
    everything_happens(state)
    return webhooks


def everything_happens(state: ForgeState) -> None:
    state.add_repository(REPOSITORY)
    state.open_pull(REPOSITORY, by="alice", title="Cap the retry", head="cap", draft=True)
    state.make_ready(REPOSITORY, 1, by="alice")
    state.request_review(REPOSITORY, 1, by="alice", logins=["bob"], teams=["core"])
    state.remove_request(REPOSITORY, 1, by="alice", login="bob")
    comment = state.comment(REPOSITORY, 1, by="bob", body="Why?")
    state.edit_comment(REPOSITORY, 1, comment.id, by="bob", body="Why so?")
    said = [{"path": "retry.py", "line": 3, "body": "Here."}]
    state.review(REPOSITORY, 1, by="bob", state="CHANGES_REQUESTED", comments=said)
    state.push(REPOSITORY, "cap", by="alice")
    state.edit_pull(REPOSITORY, 1, by="alice", title="Cap the upload retry")
    state.add_labels(REPOSITORY, 1, by="bob", names=["slow"])
    state.remove_label(REPOSITORY, 1, by="bob", name="Slow")
    state.put_file(REPOSITORY, f"{FOLDER}/heads.yml", "on: workflow_dispatch\n", by="alice")
    run = Workflows(state).start(REPOSITORY, "heads.yml", branch="main", by="alice")
    Workflows(state).end(REPOSITORY, run.id, "failure")
    state.close(REPOSITORY, 1, by="alice")
    state.reopen(REPOSITORY, 1, by="alice")
    state.merge(REPOSITORY, 1, by="bob")
    state.rename(REPOSITORY, "acme/application")


def test_every_webhook_is_as_github_describes_it(told: list[tuple[str, dict[str, Any]]]) -> None:
    assert [(name, found) for name, payload in told if (found := faults(f"hook:{name}", payload))] == []
    assert {name for name, _ in told} == {
        "push$event",
        "pull_request$opened",
        "pull_request$ready_for_review",
        "pull_request$review_requested",
        "pull_request$review_request_removed",
        "issue_comment$created",
        "issue_comment$edited",
        "pull_request_review$submitted",
        "pull_request_review_comment$created",
        "pull_request$synchronize",
        "pull_request$edited",
        "pull_request$labeled",
        "pull_request$unlabeled",
        "pull_request$closed",
        "pull_request$reopened",
        "repository$renamed",
        "workflow_run$requested",
        "workflow_run$completed",
    }


def test_every_answer_is_as_github_describes_it() -> None:
    state = ForgeState()
    shapes = Shapes(state, "http://127.0.0.1:8030", app_id=1)
    everything_happens(state)
    repository = state.repository("acme/application")
    pull = repository.pulls[1]
    whole, on_a_line = pull.comments
    answers = {
        "pull-request": shapes.pulls.pull(repository, pull),
        "pull-request-simple": shapes.pulls.listed_pull(repository, pull),
        "pull-request-review": shapes.pulls.review(repository, pull, pull.reviews[0]),
        "issue-comment": shapes.pulls.comment(repository, pull, whole),
        "pull-request-review-comment": shapes.pulls.comment(repository, pull, on_a_line),
        "review-comment": shapes.pulls.comment(repository, pull, on_a_line),
        "full-repository": shapes.repositories.repository(repository),
        "repository": shapes.repositories.repository(repository),
        "short-branch": shapes.repositories.branch(repository, "main"),
        "simple-user": shapes.repositories.user("alice"),
    }
    assert {name: faults(f"rest:{name}", answer) for name, answer in answers.items()} == {name: [] for name in answers}


def test_a_shape_that_lacks_something_is_found() -> None:
    user = Shapes(ForgeState(), "http://127.0.0.1:8030", app_id=1).repositories.user("alice")
    del user["avatar_url"]
    assert faults("rest:simple-user", user) == [': "avatar_url" is a required property']
