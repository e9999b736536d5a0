"""Builds by GitHub Actions: which run is whose, when one is lost, what its end means, and what a refusal does."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from notify.domain.head_ports import NotFound, RunnerRefused, RunnerUnavailable
from notify.domain.heads import BuildStatus, Request, RequestId, Strategy
from notify.embedded.forge.rest import Answer
from tests.support.github_builds import DISPATCHES, NAMED, NAMELESS, REPOSITORY, RUN, RUNS, OnGitHub, on_github

QUEUE = "monorepo/main"
BASE = "b" * 40
WITHOUT_DETAILS = Answer(httpx.codes.NO_CONTENT, done=True)
LOST = Answer(0, hang_up=True, done=True)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[OnGitHub]:
    with on_github(tmp_path) as made:
        yield made


def request_of(github: OnGitHub, number: int = 1) -> Request:
    base = github.uri.replace("a" * 40, BASE)
    return Request(id=RequestId(QUEUE, number), uri=github.uri, strategy=Strategy.INCREMENTAL, base_uri=base)


def test_the_workflow_runs_on_the_trusted_ref_and_is_given_the_head(github: OnGitHub) -> None:
    github.runner.start(request_of(github))
    (run,) = github.runs
    assert (run.branch, run.inputs) == (
        "main",
        {"head": "a" * 40, "base": BASE, "queue": QUEUE, "request": f"request/{QUEUE}/1"},
    )


def test_a_start_that_does_not_name_its_run_finds_it_by_the_requests_name(github: OnGitHub) -> None:
    github.forge.rest.only(DISPATCHES, answer=WITHOUT_DETAILS)
    build = github.runner.start(request_of(github))
    (run,) = github.runs
    assert build.endswith(f"#{run.id}")
    assert github.runner.report(build).url == f"{github.forge.url}/{REPOSITORY}/actions/runs/{run.id}"


def test_a_run_that_is_not_seen_at_once_runs_and_is_found_later(github: OnGitHub) -> None:
    github.define(NAMELESS)
    github.forge.rest.only(DISPATCHES, answer=WITHOUT_DETAILS)
    request = request_of(github)
    build = github.runner.start(request)
    assert github.runner.report(build).status is BuildStatus.RUNNING
    with pytest.raises(RunnerUnavailable):
        github.runner.cancel(build)
    (run,) = github.runs
    run.title = str(request.id)
    assert github.runner.start(request).endswith(f"#{run.id}"), "another start finds it too"
    github.workflows.end(REPOSITORY, run.id, "failure")
    assert github.runner.report(build).status is BuildStatus.FAILURE


def test_a_run_that_never_appears_is_not_found_after_ten_minutes(github: OnGitHub) -> None:
    github.define(NAMELESS)
    github.forge.rest.only(DISPATCHES, answer=WITHOUT_DETAILS)
    build = github.runner.start(request_of(github))
    github.at += 599
    assert github.runner.report(build).status is BuildStatus.RUNNING
    github.at += 2
    with pytest.raises(NotFound):
        github.runner.report(build)
    with pytest.raises(NotFound):
        github.runner.cancel(build)


def test_the_run_of_another_request_is_not_taken_for_its_own(github: OnGitHub) -> None:
    twelfth = github.runner.start(request_of(github, 12))
    github.define(NAMELESS)
    github.forge.rest.only(DISPATCHES, answer=WITHOUT_DETAILS)
    first = github.runner.start(request_of(github, 1))
    github.end(twelfth, BuildStatus.SUCCESS)
    assert len(github.runs) == 2, "the run of request 12 is not that of request 1"
    assert github.runner.report(first).status is BuildStatus.RUNNING
    assert github.runner.report(twelfth).status is BuildStatus.SUCCESS


def test_a_run_that_the_forge_does_not_have_is_not_found(github: OnGitHub) -> None:
    for act in (github.runner.report, github.runner.cancel):
        with pytest.raises(NotFound):
            act(f"request/{QUEUE}/1#999999")


def test_each_end_of_a_run_means_what_it_says_and_an_unknown_one_is_an_error(github: OnGitHub) -> None:
    expected = {
        "success": BuildStatus.SUCCESS,
        "failure": BuildStatus.FAILURE,
        "timed_out": BuildStatus.TIMED_OUT,
        "cancelled": BuildStatus.CANCELLED,
        "skipped": BuildStatus.SKIPPED,
        "neutral": BuildStatus.SKIPPED,
        "action_required": BuildStatus.UNEXPECTED_ERROR,
        "stale": BuildStatus.UNEXPECTED_ERROR,
        "startup_failure": BuildStatus.UNEXPECTED_ERROR,
    }
    found = {}
    for number, conclusion in enumerate(expected, start=1):
        build = github.runner.start(request_of(github, number))
        github.workflows.end(REPOSITORY, github.runs[-1].id, conclusion)
        found[conclusion] = github.runner.report(build).status
    assert found == expected


@pytest.mark.parametrize("path", [RUNS, DISPATCHES, RUN])
def test_a_refusal_is_final_and_an_outage_is_not(github: OnGitHub, path: str) -> None:
    build = github.runner.start(request_of(github, 1))

    def ask() -> None:
        if path is RUN:
            github.runner.report(build)
        else:
            github.runner.start(request_of(github, 2))

    for answer, expected in (
        (Answer(403), RunnerRefused),
        (Answer(422), RunnerRefused),
        (Answer(500), RunnerUnavailable),
        (Answer(0, hang_up=True), RunnerUnavailable),
        (Answer(403, {"Retry-After": "30"}), RunnerUnavailable),
    ):
        github.forge.rest.only(path, answer=answer)
        with pytest.raises(expected):
            ask()
    github.forge.rest.only(path, answer=Answer(401))
    ask()
    assert len(github.runs) == (1 if path is RUN else 2), "a call that failed started nothing"


def test_a_workflow_that_the_repository_does_not_have_is_refused(github: OnGitHub) -> None:
    github.forge.state.put_file(REPOSITORY, ".github/workflows/heads.yml", None, by="alice")
    with pytest.raises(RunnerRefused):
        github.runner.start(request_of(github))
    github.define("on: push\n")
    with pytest.raises(RunnerRefused):
        github.runner.start(request_of(github))
    github.define(NAMED)
    github.runner.start(request_of(github))
    assert len(github.runs) == 1


def test_a_start_whose_answer_is_lost_is_one_build(github: OnGitHub) -> None:
    github.forge.rest.only(DISPATCHES, answer=LOST)
    with pytest.raises(RunnerUnavailable):
        github.runner.start(request_of(github))
    build = github.runner.start(request_of(github))
    assert [build.endswith(f"#{one.id}") for one in github.runs] == [True]


def test_a_cancellation_whose_answer_is_lost_can_be_repeated(github: OnGitHub) -> None:
    build = github.runner.start(request_of(github))
    github.forge.rest.only("/cancel", answer=LOST)
    with pytest.raises(RunnerUnavailable):
        github.runner.cancel(build)
    github.runner.cancel(build)
    assert github.runner.report(build).status is BuildStatus.CANCELLED
