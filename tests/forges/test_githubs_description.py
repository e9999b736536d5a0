"""An independent mock made from GitHub's own OpenAPI description takes every call by which statuses are shown."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from notify.domain.forge_answers import Applied, Refused
from notify.domain.forge_ports import StatusWriter
from notify.domain.forge_settings import ForgeSettings
from notify.domain.statuses import (
    CHECK_STATES,
    Annotation,
    AnnotationLevel,
    AppliedStatus,
    CheckOutput,
    Status,
    StatusKind,
    StatusState,
    WantedStatus,
)
from notify.forges.client import Connection, FixedToken, ForgeClient, Scope
from notify.forges.connect import connected
from tests.forges.shapes import app_key, settings
from tests.support.prism import needs_prism, prism

REPOSITORY = "/repos/{owner}/{repo}"
PATHS = (
    "/app/installations/{installation_id}/access_tokens",
    f"{REPOSITORY}/installation",
    f"{REPOSITORY}/statuses/{{sha}}",
    f"{REPOSITORY}/check-runs",
    f"{REPOSITORY}/check-runs/{{check_run_id}}",
    f"{REPOSITORY}/check-runs/{{check_run_id}}/annotations",
    f"{REPOSITORY}/commits/{{ref}}/check-runs",
    f"{REPOSITORY}/commits/{{commit_sha}}/pulls",
    f"{REPOSITORY}/issues/{{issue_number}}/labels",
    f"{REPOSITORY}/issues/{{issue_number}}/labels/{{name}}",
)
# Of the examples in the description: an app, its check run, and the head of a pull request with a label.
APP, CHECK_RUN, EXTERNAL_ID = 1, 4, ""
HEAD, LABEL = "6dcb09b5b57875f334f61aebed695e2e4193db5e", "bug"
HELLO = "octocat/Hello-World"

pytestmark = needs_prism


@dataclass(frozen=True)
class Mock:
    settings: ForgeSettings
    writer: StatusWriter


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with prism(PATHS) as url:
        stated = settings(api_url=url, token=None, app_id=APP, private_key=app_key())
        made = connected(stated)
        yield Mock(stated, made.writer)
        made.reader.close()


def wanted(kind: StatusKind, state: StatusState, *, annotations: int = 0, **more: int | bool) -> WantedStatus:
    found = tuple(
        Annotation(path="a.py", start_line=1, end_line=2, level=level, message=f"{number}", title="T")
        for number, level in zip(range(annotations), [*AnnotationLevel] * annotations, strict=False)
    )
    status = Status(
        forge="github",
        repository=HELLO,
        sha=HEAD,
        context="ci/test",
        kind=kind,
        state=state,
        description="word " * 50,
        target_url="https://ci.example/1",
        output=CheckOutput(title="Tests", summary="é" * 70_000, text="x" * 70_000, annotations=found),
    )
    return WantedStatus(status=status, external_id=EXTERNAL_ID, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [StatusState.PENDING, StatusState.SUCCESS, StatusState.FAILURE, StatusState.ERROR])
def test_it_takes_every_commit_status(mock: Mock, state: StatusState) -> None:
    assert mock.writer.apply(wanted(StatusKind.STATUS, state)) == AppliedStatus(remote_id=None, repository=HELLO)


@pytest.mark.parametrize("state", sorted(CHECK_STATES))
def test_it_takes_a_check_run_in_every_state(mock: Mock, state: StatusState) -> None:
    shown = AppliedStatus(remote_id=CHECK_RUN, repository=HELLO)
    assert mock.writer.apply(wanted(StatusKind.CHECK_RUN, state)) == shown
    assert mock.writer.apply(wanted(StatusKind.CHECK_RUN, state, remote_id=CHECK_RUN)) == shown


def test_it_takes_annotations_by_fifties(mock: Mock) -> None:
    many = wanted(StatusKind.CHECK_RUN, StatusState.FAILURE, annotations=51)
    assert mock.writer.apply(many).remote_id == CHECK_RUN
    again = wanted(StatusKind.CHECK_RUN, StatusState.FAILURE, annotations=51, remote_id=CHECK_RUN)
    assert mock.writer.apply(again).remote_id == CHECK_RUN


def test_it_is_asked_for_a_check_run_before_another_is_created(mock: Mock) -> None:
    assert mock.writer.apply(wanted(StatusKind.CHECK_RUN, StatusState.SUCCESS, look=True)).remote_id == CHECK_RUN


def test_it_takes_labels(mock: Mock) -> None:
    mock.writer.add_label(HELLO, HEAD, "status-error")
    mock.writer.remove_label(HELLO, HEAD, LABEL)


def test_it_refuses_what_github_does_not_describe(mock: Mock) -> None:
    connection = Connection(mock.settings)
    client, path = ForgeClient(connection, FixedToken("t")), f"/repos/{HELLO}/check-runs"
    good = {"name": "ci/test", "head_sha": HEAD, "status": "queued"}
    with closing(connection):
        assert isinstance(client.ask("POST", path, Scope(HELLO), content=good)[1], Applied)
        for bad in ({"name": "ci/test"}, good | {"status": "pending"}, good | {"output": {"title": "T"}}):
            _, meaning = client.ask("POST", path, Scope(HELLO), content=bad)
            assert isinstance(meaning, Refused), bad
