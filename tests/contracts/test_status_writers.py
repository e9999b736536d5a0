"""What whatever writes statuses must do, on every forge: GitHub's writer on the embedded forge, Gitea's on a keeper."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from notify import forges_file
from notify.domain.forge_answers import AnswerMeaning, ForgeFault, MissingCommit, RateLimited, Refused, Unavailable
from notify.domain.forge_ports import StatusWriter
from notify.domain.forge_settings import ForgeKind
from notify.domain.statuses import (
    CHECK_STATES,
    GITEA_STATES,
    STATUS_STATES,
    Status,
    StatusKind,
    StatusState,
    WantedStatus,
    nearest_status,
)
from notify.embedded.forge.misbehaviour import LOST
from notify.embedded.forge.misbehaviour import Answer as Misbehaving
from notify.embedded.forge.server import EmbeddedForge, forging
from notify.forges.connect import Connected, connected
from tests.forges.gitea_keeper import GiteaKeeper
from tests.forges.server import Answer, Asked, ForgeServer

MISSING = "0" * 40
LABEL = "status-error"
NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Shown:
    """What people see on a commit under one context."""

    state: str
    words: str


@dataclass
class Scene:
    """
    One repository of a forge with one commit, which is the head of an open pull request.

    Args:
        shown: What is shown by context; a context twice is a failure.
        labels: Of the pull request.
        answers: Makes the next call that writes a status get this answer instead.
        loses: Makes the next call that writes a status do what it should, and nobody hears of it.
    """

    kind: ForgeKind
    status_kind: StatusKind
    writer: StatusWriter
    repository: str
    sha: str
    shown: Callable[[], dict[str, Shown]]
    labels: Callable[[], set[str]]
    answers: Callable[[int, dict[str, str]], None]
    loses: Callable[[], None]
    rename: Callable[[str], None]

    def wanted(self, state: StatusState, *, context: str = "ci/test", words: str = "") -> WantedStatus:
        status = Status(
            forge=self.kind.value,
            repository=self.repository,
            sha=self.sha,
            context=context,
            kind=self.status_kind,
            state=state,
            description=words or None,
        )
        return WantedStatus(status=status, external_id=f"target of {context}")

    def meaning(self, wanted: WantedStatus) -> AnswerMeaning:
        with pytest.raises(ForgeFault) as raised:
            self.writer.apply(wanted)
        return raised.value.meaning

    @property
    def begun(self) -> StatusState:
        return StatusState.PENDING if self.status_kind is StatusKind.STATUS else StatusState.IN_PROGRESS

    @property
    def states(self) -> dict[StatusState, str]:
        """How each state that may be wanted is shown."""
        if self.kind is ForgeKind.GITEA:
            wanted = GITEA_STATES if self.status_kind is StatusKind.STATUS else CHECK_STATES
            return {state: nearest_status(state, among=GITEA_STATES).value for state in wanted}
        return {state: state.value for state in (STATUS_STATES, CHECK_STATES)[self.status_kind is StatusKind.CHECK_RUN]}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedForge, Connected]]:
    folder: Path = tmp_path_factory.mktemp("forge")
    with forging(folder, webhook_url=None) as forge:
        made = connected(forges_file.load(forge.configuration).forges["github"])
        yield forge, made
        made.reader.close()


@pytest.fixture(scope="module")
def gitea() -> Iterator[ForgeServer]:
    with ForgeServer() as server:
        yield server


def on_github(embedded: tuple[EmbeddedForge, Connected], status_kind: StatusKind) -> Scene:
    forge, made = embedded
    repository = forge.state.add_repository(f"acme/app{next(NUMBERS)}")
    pull = forge.state.open_pull(repository.full_name, by="alice", title="Cap the retry", head="cap")
    path = "/check-runs" if status_kind is StatusKind.CHECK_RUN else "/statuses/"

    def shown() -> dict[str, Shown]:
        found: dict[str, Shown] = {}
        for run in forge.state.statuses.runs(repository.id, pull.head_sha):
            assert run.name not in found, "a check run is there twice"
            found[run.name] = Shown(run.state, run.output.get("title") or "")
        for status in forge.state.statuses.latest(repository.id, pull.head_sha):
            found[status.context] = Shown(status.state, status.description or "")
        return found

    def answers(status: int, headers: dict[str, str]) -> None:
        forge.rest.only(path, answer=Misbehaving(status, headers))

    return Scene(
        kind=ForgeKind.GITHUB,
        status_kind=status_kind,
        writer=made.writer,
        repository=repository.full_name,
        sha=pull.head_sha,
        shown=shown,
        labels=lambda: set(pull.labels),
        answers=answers,
        loses=lambda: forge.rest.only(path, answer=LOST),
        rename=lambda name: forge.state.rename(repository.full_name, name),
    )


def on_gitea(forge: ForgeServer, status_kind: StatusKind) -> Scene:
    sha = "a" * 40
    kept = GiteaKeeper(forge, f"acme/app{next(NUMBERS)}", sha=sha)
    statuses = f"/repos/{kept.full_name}/statuses/{sha}"
    right = forge.scripts[statuses]

    def once(answer: Callable[[Asked], Answer]) -> None:
        def instead(asked: Asked) -> Answer:
            forge.scripts[statuses] = right
            return answer(asked)

        forge.scripts[statuses] = instead

    def lost(asked: Asked) -> Answer:
        right(asked)
        return Answer(cut=True)

    return Scene(
        kind=ForgeKind.GITEA,
        status_kind=status_kind,
        writer=forge.writer(ForgeKind.GITEA),
        repository=kept.full_name,
        sha=sha,
        shown=lambda: {context: Shown(state, words) for context, state, words in kept.statuses},
        labels=lambda: kept.names_of,
        answers=lambda status, headers: once(lambda _: Answer({"message": "as told"}, status, headers)),
        loses=lambda: once(lost),
        rename=kept.rename,
    )


@pytest.fixture(params=ForgeKind)
def forge_kind(request: pytest.FixtureRequest) -> ForgeKind:
    kind: ForgeKind = request.param
    return kind


@pytest.fixture(params=StatusKind)
def scene(
    request: pytest.FixtureRequest,
    forge_kind: ForgeKind,
    embedded: tuple[EmbeddedForge, Connected],
    gitea: ForgeServer,
) -> Scene:
    return on_github(embedded, request.param) if forge_kind is ForgeKind.GITHUB else on_gitea(gitea, request.param)


def test_what_is_wanted_now_replaces_what_was_shown(scene: Scene) -> None:
    first = scene.writer.apply(scene.wanted(scene.begun, words="Running."))
    assert scene.shown()["ci/test"].words == "Running."
    ended = scene.wanted(StatusState.FAILURE, words="Two of 812 tests failed.")
    last = scene.writer.apply(replace(ended, remote_id=first.remote_id))
    assert scene.shown() == {"ci/test": Shown("failure", "Two of 812 tests failed.")}
    assert last == first
    assert last.repository == scene.repository


def test_each_context_is_shown_for_itself(scene: Scene) -> None:
    scene.writer.apply(scene.wanted(StatusState.SUCCESS))
    scene.writer.apply(scene.wanted(StatusState.FAILURE, context="ci/lint", words="Long lines."))
    assert scene.shown() == {"ci/test": Shown("success", ""), "ci/lint": Shown("failure", "Long lines.")}


def test_every_state_is_shown_as_the_forge_has_it(scene: Scene) -> None:
    for state in scene.states:
        scene.writer.apply(scene.wanted(state, context=f"ci/{state}"))
    assert {one.removeprefix("ci/"): shown.state for one, shown in scene.shown().items()} == scene.states


def test_an_unheard_answer_shows_nothing_twice(scene: Scene) -> None:
    scene.loses()
    assert isinstance(scene.meaning(scene.wanted(scene.begun)), Unavailable)
    applied = scene.writer.apply(replace(scene.wanted(StatusState.SUCCESS), look=True))
    assert scene.shown() == {"ci/test": Shown("success", "")}
    again = replace(scene.wanted(StatusState.FAILURE), remote_id=applied.remote_id)
    assert scene.writer.apply(again) == applied
    assert scene.shown() == {"ci/test": Shown("failure", "")}


def test_a_renamed_repository_gets_its_status_and_says_its_new_name(scene: Scene) -> None:
    first = scene.writer.apply(scene.wanted(scene.begun))
    scene.rename(f"{scene.repository}-new")
    for known in (first.remote_id, None):
        last = replace(scene.wanted(StatusState.SUCCESS), remote_id=known, look=known is None)
        assert scene.writer.apply(last) == replace(first, repository=f"{scene.repository}-new")
    assert scene.shown() == {"ci/test": Shown("success", "")}


def test_a_commit_that_the_forge_lacks_is_missing(scene: Scene) -> None:
    wanted = scene.wanted(StatusState.SUCCESS)
    missing = replace(wanted, status=replace(wanted.status, sha=MISSING))
    assert isinstance(scene.meaning(missing), MissingCommit)
    assert isinstance(scene.meaning(replace(missing, look=True)), MissingCommit)


def test_a_repository_that_is_gone_is_refused(scene: Scene) -> None:
    wanted = scene.wanted(StatusState.SUCCESS)
    meaning = scene.meaning(replace(wanted, status=replace(wanted.status, repository="acme/gone")))
    assert isinstance(meaning, Refused)
    assert meaning.reason in ("gone", "not_installed")


MEANINGS: list[tuple[int, dict[str, str], AnswerMeaning]] = [
    (403, {}, Refused(reason="forbidden", words="as told")),
    (403, {"Retry-After": "60"}, RateLimited(wait=timedelta(seconds=60), words="as told")),
    (502, {}, Unavailable(reason="server_error", words="as told")),
]


@pytest.mark.parametrize(("status", "headers", "meaning"), MEANINGS)
def test_what_is_not_applied_says_why(
    scene: Scene, status: int, headers: dict[str, str], meaning: AnswerMeaning
) -> None:
    scene.answers(status, headers)
    assert scene.meaning(scene.wanted(StatusState.SUCCESS)) == meaning
    assert scene.shown() == {}
    scene.writer.apply(replace(scene.wanted(StatusState.SUCCESS), look=True))
    assert scene.shown() == {"ci/test": Shown("success", "")}


def test_a_label_comes_once_and_goes_once(scene: Scene) -> None:
    for _ in range(2):
        scene.writer.add_label(scene.repository, scene.sha, LABEL)
        assert scene.labels() == {LABEL}
    for _ in range(2):
        scene.writer.remove_label(scene.repository, scene.sha, LABEL)
        assert scene.labels() == set()


def test_a_label_follows_a_renamed_repository(scene: Scene) -> None:
    scene.rename(f"{scene.repository}-new")
    scene.writer.add_label(scene.repository, scene.sha, LABEL)
    assert scene.labels() == {LABEL}
    scene.writer.remove_label(scene.repository, scene.sha, LABEL)
    assert scene.labels() == set()
