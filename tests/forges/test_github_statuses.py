"""What GitHub is told: statuses and check runs as its API takes them, and each check run once."""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from notify.domain.forge_answers import ForgeFault, MissingCommit, RateLimited, Refused, Unavailable
from notify.domain.forge_ports import StatusWriter
from notify.domain.statuses import (
    Annotation,
    AnnotationLevel,
    AppliedStatus,
    CheckOutput,
    Status,
    StatusKind,
    StatusState,
    WantedStatus,
)
from tests.forges.server import Answer, Asked, ForgeServer

SHA = "a" * 40
HOME = "/repos/acme/monorepo"
STATUSES = f"{HOME}/statuses/{SHA}"
RUNS = f"{HOME}/check-runs"
LISTED = f"{HOME}/commits/{SHA}/check-runs"
OURS, ANOTHER_APP = 12345, 15368


class Checks:
    """The check runs that GitHub keeps, over its scripts."""

    def __init__(self, forge: ForgeServer) -> None:
        self.forge = forge
        self.runs: dict[int, dict[str, Any]] = {}
        self.annotations: dict[int, list[dict[str, Any]]] = {}
        forge.scripts[RUNS] = self._create
        forge.scripts[LISTED] = lambda _: Answer({"total_count": len(self.runs), "check_runs": [*self.runs.values()]})

    def has(self, number: int, *, app: int = OURS, **stated: Any) -> None:
        self.runs[number] = {"id": number, "app": {"id": app}, "name": "ci/test", "external_id": "t-1"} | stated
        self.annotations[number] = []
        self.forge.scripts[f"{RUNS}/{number}"] = lambda asked: self._patch(number, asked)
        self.forge.scripts[f"{RUNS}/{number}/annotations"] = lambda _: Answer(self.annotations[number])

    def _create(self, asked: Asked) -> Answer:
        number = 100 + len(self.runs)
        self.has(number, **asked.json)
        self._annotate(number, asked)
        return Answer(self.runs[number], 201)

    def _patch(self, number: int, asked: Asked) -> Answer:
        self.runs[number] |= asked.json
        self._annotate(number, asked)
        return Answer(self.runs[number])

    def _annotate(self, number: int, asked: Asked) -> None:
        added = asked.json.get("output", {}).get("annotations", [])
        assert len(added) <= 50
        self.annotations[number] += added


@pytest.fixture
def app(forge: ForgeServer) -> StatusWriter:
    """The writer of an app that is installed on the repository."""
    return forge.app_writer("acme/monorepo", app_id=OURS)


@pytest.fixture
def checks(forge: ForgeServer) -> Checks:
    return Checks(forge)


def status(state: StatusState = StatusState.SUCCESS, **more: Any) -> Status:
    stated: dict[str, Any] = {
        "forge": "github",
        "repository": "acme/monorepo",
        "sha": SHA,
        "context": "ci/test",
        "kind": StatusKind.STATUS,
        "state": state,
    }
    return Status(**stated | more)


def check(
    state: StatusState = StatusState.SUCCESS, *, output: CheckOutput | None = None, **wanted: Any
) -> WantedStatus:
    run = status(state, kind=StatusKind.CHECK_RUN, output=output)
    return WantedStatus(status=run, external_id="t-1", **wanted)


def wanted(state: StatusState = StatusState.SUCCESS, **more: Any) -> WantedStatus:
    return WantedStatus(status=status(state, **more), external_id="t-1")


def output(*annotations: Annotation, summary: str = "Two failed.", text: str | None = None) -> CheckOutput:
    return CheckOutput(title="Tests", summary=summary, text=text, annotations=annotations)


def annotation(number: int, **more: Any) -> Annotation:
    stated: dict[str, Any] = {
        "path": "src/a.py",
        "start_line": number,
        "end_line": number,
        "level": AnnotationLevel.FAILURE,
        "message": f"Wrong {number}.",
    }
    return Annotation(**stated | more)


def bodies(forge: ForgeServer, method: str = "POST", path: str = RUNS) -> list[Any]:
    return [one.json for one in forge.asked if (one.method, one.path) == (method, path)]


def test_a_commit_status_has_its_context_words_and_link(forge: ForgeServer, app: StatusWriter) -> None:
    forge.says(STATUSES, Answer({"id": 1}, 201))
    link = "https://ci.example/1"
    applied = app.apply(wanted(StatusState.FAILURE, description="Two of 812 tests failed.", target_url=link))
    assert applied == AppliedStatus(remote_id=None, repository="acme/monorepo")
    assert bodies(forge, path=STATUSES) == [
        {"state": "failure", "context": "ci/test", "description": "Two of 812 tests failed.", "target_url": link}
    ]
    assert forge.asked[-1].token == "ghs_7"


def test_a_long_description_is_cut_at_a_words_end(forge: ForgeServer, app: StatusWriter) -> None:
    forge.says(STATUSES, Answer({"id": 1}, 201))
    app.apply(wanted(description="überall " * 40))
    (body,) = bodies(forge, path=STATUSES)
    assert len(body["description"]) <= 140
    assert re.fullmatch(r"(überall )*überall…", body["description"])


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (StatusState.QUEUED, "pending"),
        (StatusState.IN_PROGRESS, "pending"),
        (StatusState.TIMED_OUT, "failure"),
        (StatusState.CANCELLED, "error"),
        (StatusState.NEUTRAL, "success"),
    ],
)
def test_a_token_without_an_app_shows_the_nearest_commit_status(
    forge: ForgeServer, state: StatusState, shown: str
) -> None:
    forge.says(STATUSES, Answer({"id": 1}, 201))
    applied = forge.writer().apply(check(state, output=output()))
    assert applied.remote_id is None
    assert bodies(forge, path=STATUSES) == [{"state": shown, "context": "ci/test", "description": "Tests"}]


def test_a_check_run_is_created_once_and_then_changed_by_its_number(app: StatusWriter, checks: Checks) -> None:
    began, ended = datetime(2026, 11, 2, 9, tzinfo=UTC), datetime(2026, 11, 2, 9, 5, tzinfo=UTC)
    first = app.apply(check(StatusState.QUEUED))
    assert checks.runs == {
        100: checks.runs[100] | {"name": "ci/test", "head_sha": SHA, "external_id": "t-1", "status": "queued"}
    }
    assert not {"conclusion", "completed_at", "output"} & set(checks.runs[100])
    app.apply(check(StatusState.IN_PROGRESS, remote_id=first.remote_id, started_at=began))
    last = check(StatusState.TIMED_OUT, remote_id=100, started_at=began, completed_at=ended, output=output(text="Log"))
    assert app.apply(last) == AppliedStatus(remote_id=100, repository="acme/monorepo")
    (run,) = checks.runs.values()
    assert (run["status"], run["conclusion"]) == ("completed", "timed_out")
    assert (run["started_at"], run["completed_at"]) == ("2026-11-02T09:00:00Z", "2026-11-02T09:05:00Z")
    assert run["output"] == {"title": "Tests", "summary": "Two failed.", "text": "Log"}


def test_a_check_run_without_output_shows_its_description(app: StatusWriter, checks: Checks) -> None:
    words = "word " * 60
    run = status(kind=StatusKind.CHECK_RUN, description=words.strip())
    app.apply(WantedStatus(status=run, external_id="t-1"))
    shown = checks.runs[100]["output"]
    assert shown["summary"] == words.strip()
    assert len(shown["title"]) <= 140


def test_long_texts_are_cut_and_say_so(app: StatusWriter, checks: Checks) -> None:
    app.apply(check(output=output(annotation(1, message="é" * 65_000), summary="é" * 70_000, text="x" * 65_535)))
    shown = checks.runs[100]["output"]
    assert len(shown["summary"]) <= 65_535
    assert "cut" in shown["summary"][-100:]
    assert shown["text"] == "x" * 65_535
    (message,) = [one["message"] for one in checks.annotations[100]]
    assert 65_000 < len(message.encode()) <= 65_536
    assert "cut" in message[-100:]


def test_annotations_are_sent_in_fifties_and_none_twice(forge: ForgeServer, app: StatusWriter, checks: Checks) -> None:
    many = [annotation(number) for number in range(1, 121)]
    app.apply(check(StatusState.FAILURE, output=output(*many)))
    assert [one["start_line"] for one in checks.annotations[100]] == list(range(1, 121))
    assert len(bodies(forge, "PATCH", f"{RUNS}/100")) == 2
    app.apply(
        check(StatusState.FAILURE, remote_id=100, output=output(*many, annotation(1), annotation(121, title="T")))
    )
    assert [one["start_line"] for one in checks.annotations[100][120:]] == [1, 121]
    assert checks.annotations[100][121] == {
        "path": "src/a.py",
        "start_line": 121,
        "end_line": 121,
        "annotation_level": "failure",
        "message": "Wrong 121.",
        "title": "T",
    }


def test_annotations_that_take_too_long_are_left_to_the_next_attempt_and_none_comes_twice(
    forge: ForgeServer, checks: Checks
) -> None:
    calls_last = 8.0
    app = forge.app_writer("acme/monorepo", app_id=OURS, clock=lambda: calls_last * len(forge.asked))
    many = output(*(annotation(number) for number in range(1, 501)))
    with pytest.raises(ForgeFault) as raised:
        app.apply(check(output=many))
    assert isinstance(raised.value.meaning, Unavailable)
    assert 50 < len(checks.annotations[100]) < 500
    with pytest.raises(ForgeFault):
        app.apply(check(output=many, look=True))
    assert app.apply(check(output=many, look=True)).remote_id == 100
    assert [one["start_line"] for one in checks.annotations[100]] == list(range(1, 501))


def test_a_check_run_that_an_unheard_answer_made_is_found_and_no_other_is_created(
    forge: ForgeServer, app: StatusWriter, checks: Checks
) -> None:
    create = forge.scripts[RUNS]

    def unheard(asked: Asked) -> Answer:
        create(asked)
        return Answer(cut=True)

    forge.scripts[RUNS] = unheard
    with pytest.raises(ForgeFault) as raised:
        app.apply(check(StatusState.QUEUED))
    assert isinstance(raised.value.meaning, Unavailable)
    forge.scripts[RUNS] = create
    assert app.apply(check(look=True)).remote_id == 100
    assert [one["conclusion"] for one in checks.runs.values()] == ["success"]


def test_only_the_check_run_of_our_app_and_target_is_taken_for_ours(
    forge: ForgeServer, app: StatusWriter, checks: Checks
) -> None:
    checks.has(1, app=ANOTHER_APP)
    checks.has(2, external_id="t-2")
    checks.has(3, external_id=None)
    assert app.apply(check(look=True)).remote_id == 103
    (asked,) = [one for one in forge.asked if one.path == LISTED]
    assert (asked.query["check_name"], asked.query["filter"]) == ("ci/test", "all")


def test_the_check_run_is_looked_for_on_every_page(forge: ForgeServer, app: StatusWriter, checks: Checks) -> None:
    checks.has(1, external_id="t-9")
    checks.has(2)
    forge.pages(LISTED, *({"check_runs": [run]} for run in [*checks.runs.values()]))
    assert app.apply(check(look=True)).remote_id == 2


def test_a_check_run_that_is_gone_is_looked_for_and_then_created(
    forge: ForgeServer, app: StatusWriter, checks: Checks
) -> None:
    assert app.apply(check(remote_id=9, output=output(annotation(1)))).remote_id == 100
    assert app.apply(check(StatusState.FAILURE, remote_id=9)).remote_id == 100
    assert [one["conclusion"] for one in checks.runs.values()] == ["failure"]
    assert forge.count(LISTED) == 2


def test_without_the_repository_a_check_run_is_gone(app: StatusWriter) -> None:
    with pytest.raises(ForgeFault) as raised:
        app.apply(check(remote_id=9))
    assert raised.value.meaning == Refused(reason="gone", words="Not Found")


def _as(forge: ForgeServer, path: str, asked: Asked) -> Answer:
    return forge.scripts[path](asked)


def moved(forge: ForgeServer, *paths: str) -> None:
    """The repository was called acme/mono."""
    forge.says("/repos/acme/mono", Answer(status=301, headers={"Location": f"{forge.url}/repositories/700"}))
    forge.says("/repositories/700", {"id": 700, "full_name": "acme/monorepo"})
    for path in ("/installation", *paths):
        there = f"{forge.url}/repositories/700{path}"
        forge.says(f"/repos/acme/mono{path}", Answer(status=307, headers={"Location": there}))
        forge.scripts[f"/repositories/700{path}"] = partial(_as, forge, f"{HOME}{path}")


def test_a_status_of_a_renamed_repository_is_applied_and_says_the_new_name(
    forge: ForgeServer, app: StatusWriter
) -> None:
    moved(forge, f"/statuses/{SHA}")
    forge.says(STATUSES, Answer({"id": 1}, 201))
    assert app.apply(wanted(repository="acme/mono")) == AppliedStatus(remote_id=None, repository="acme/monorepo")
    assert len(bodies(forge, path=f"/repositories/700/statuses/{SHA}")) == 1


def test_a_check_run_of_a_renamed_repository_is_found_changed_and_says_the_new_name(
    forge: ForgeServer, app: StatusWriter, checks: Checks
) -> None:
    checks.has(5)
    moved(forge, f"/commits/{SHA}/check-runs", "/check-runs/5")
    run = status(kind=StatusKind.CHECK_RUN, repository="acme/mono")
    applied = app.apply(WantedStatus(status=run, external_id="t-1", look=True))
    assert applied == AppliedStatus(remote_id=5, repository="acme/monorepo")
    assert checks.runs[5]["conclusion"] == "success"


FAULTS: list[tuple[Answer, Any]] = [
    (Answer({"message": f"No commit found for SHA: {SHA}"}, 422), MissingCommit),
    (Answer({"message": "Validation Failed"}, 422), Refused),
    (Answer({"message": "Resource not accessible by integration"}, 403), Refused),
    (Answer({"message": "slow"}, 429, {"Retry-After": "60"}), RateLimited),
    (Answer(status=502), Unavailable),
    (Answer(b"<html>", 201), Unavailable),
]


@pytest.mark.parametrize(("answer", "meaning"), FAULTS)
def test_what_github_does_not_apply_is_a_fault_of_its_installation(
    forge: ForgeServer, app: StatusWriter, answer: Answer, meaning: type
) -> None:
    forge.says(RUNS, answer)
    with pytest.raises(ForgeFault) as raised:
        app.apply(check())
    assert isinstance(raised.value.meaning, meaning)
    assert raised.value.installation == 7


def test_the_installation_of_a_repository_is_told_without_writing(forge: ForgeServer, app: StatusWriter) -> None:
    assert [app.installation("acme/monorepo") for _ in range(2)] == [7, 7]
    assert forge.counts == {f"GET {HOME}/installation": 1}
    assert forge.writer().installation("acme/monorepo") is None
