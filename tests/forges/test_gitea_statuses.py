"""What Gitea is told: commit statuses only."""

from typing import Any

import pytest

from notify.domain.forge_answers import ForgeFault, Misconfigured, MissingCommit, Refused, Unavailable
from notify.domain.forge_ports import StatusWriter
from notify.domain.forge_settings import ForgeKind
from notify.domain.statuses import AppliedStatus, CheckOutput, Status, StatusKind, StatusState, WantedStatus
from tests.forges.server import Answer, ForgeServer

SHA = "a" * 40
HOME = "/repos/acme/monorepo"
STATUSES = f"{HOME}/statuses/{SHA}"
COMMIT = f"{HOME}/git/commits/{SHA}"


@pytest.fixture
def writer(forge: ForgeServer) -> StatusWriter:
    return forge.writer(ForgeKind.GITEA)


def wanted(state: StatusState, kind: StatusKind = StatusKind.STATUS, **more: Any) -> WantedStatus:
    stated: dict[str, Any] = {"forge": "gitea", "repository": "acme/monorepo", "sha": SHA, "context": "ci/test"}
    return WantedStatus(status=Status(**stated | {"kind": kind, "state": state} | more), external_id="t-1")


def shown(forge: ForgeServer) -> list[Any]:
    return [one.json for one in forge.asked if one.method == "POST"]


@pytest.mark.parametrize("state", ["pending", "success", "failure", "error", "warning", "skipped"])
def test_every_state_that_gitea_has_is_shown_as_it_is(forge: ForgeServer, writer: StatusWriter, state: str) -> None:
    forge.says(STATUSES, Answer({"id": 1}, 201))
    applied = writer.apply(wanted(StatusState(state), description="Words.", target_url="https://ci.example/1"))
    assert applied == AppliedStatus(remote_id=None, repository="acme/monorepo")
    assert shown(forge) == [
        {"state": state, "context": "ci/test", "description": "Words.", "target_url": "https://ci.example/1"}
    ]


@pytest.mark.parametrize(
    ("state", "nearest"),
    [("queued", "pending"), ("in_progress", "pending"), ("skipped", "skipped"), ("timed_out", "failure")],
)
def test_a_check_run_becomes_the_nearest_status(
    forge: ForgeServer, writer: StatusWriter, state: str, nearest: str
) -> None:
    forge.says(STATUSES, Answer({"id": 1}, 201))
    output = CheckOutput(title="Two of 812 tests failed.", summary="Long")
    writer.apply(wanted(StatusState(state), StatusKind.CHECK_RUN, output=output))
    assert shown(forge) == [{"state": nearest, "context": "ci/test", "description": "Two of 812 tests failed."}]


def test_the_new_name_of_a_renamed_repository_is_told(forge: ForgeServer, writer: StatusWriter) -> None:
    forge.says("/repos/acme/mono", Answer(status=307, headers={"Location": HOME}))
    forge.says(f"/repos/acme/mono/statuses/{SHA}", Answer(status=307, headers={"Location": STATUSES}))
    forge.says(HOME, {"id": 700, "full_name": "acme/monorepo"})
    forge.says(STATUSES, Answer({"id": 1}, 201))
    assert writer.apply(wanted(StatusState.SUCCESS, repository="acme/mono")).repository == "acme/monorepo"


@pytest.mark.parametrize("status", [500, 404])
def test_a_commit_that_gitea_lacks_is_missing_though_it_says_otherwise(
    forge: ForgeServer, writer: StatusWriter, status: int
) -> None:
    words = f"GetCommit[{SHA}]: object does not exist"
    forge.says(STATUSES, Answer({"message": words}, status))
    forge.says(HOME, {"id": 700})
    with pytest.raises(ForgeFault) as raised:
        writer.apply(wanted(StatusState.SUCCESS))
    assert raised.value.meaning == MissingCommit(words=words)


def test_an_outage_is_not_taken_for_a_missing_commit(forge: ForgeServer, writer: StatusWriter) -> None:
    forge.says(STATUSES, Answer(status=500))
    forge.says(COMMIT, {"sha": SHA})
    with pytest.raises(ForgeFault) as raised:
        writer.apply(wanted(StatusState.SUCCESS))
    assert isinstance(raised.value.meaning, Unavailable)


def test_a_repository_that_is_gone_is_not_taken_for_a_missing_commit(writer: StatusWriter) -> None:
    with pytest.raises(ForgeFault) as raised:
        writer.apply(wanted(StatusState.SUCCESS))
    assert raised.value.meaning == Refused(reason="gone", words="Not Found")


def test_a_token_that_is_refused_is_about_the_configuration(forge: ForgeServer, writer: StatusWriter) -> None:
    forge.says(STATUSES, Answer({"message": "token is required"}, 401))
    with pytest.raises(ForgeFault) as raised:
        writer.apply(wanted(StatusState.SUCCESS))
    assert raised.value.meaning == Misconfigured(reason="token_refused", words="token is required")
    assert writer.installation("acme/monorepo") is None
