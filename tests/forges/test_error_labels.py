"""The label of a pull request whose status could not be shown: set once, taken away again, on GitHub and on Gitea."""

from collections.abc import Callable

import pytest

from notify.domain.forge_ports import StatusWriter
from notify.domain.forge_settings import ForgeKind
from tests.forges.gitea_keeper import GiteaKeeper
from tests.forges.server import Answer, Asked, ForgeServer

SHA = "a" * 40
HOME = "/repos/acme/monorepo"


@pytest.fixture
def app(forge: ForgeServer) -> StatusWriter:
    return forge.app_writer("acme/monorepo")


@pytest.fixture
def gitea(forge: ForgeServer) -> StatusWriter:
    return forge.writer(ForgeKind.GITEA)


def keeper(forge: ForgeServer, labels: dict[str, int]) -> GiteaKeeper:
    return GiteaKeeper(forge, "acme/monorepo", sha=SHA, labels=labels)


@pytest.fixture
def pulls(forge: ForgeServer) -> dict[int, set[str]]:
    """Pull requests 7 and 8 with this head, 9 with another, 10 closed; what labels each has."""
    labels: dict[int, set[str]] = {7: set(), 8: {"Status-Error"}, 9: set(), 10: {"Status-Error"}}
    heads = {7: (SHA, "open"), 8: (SHA, "open"), 9: ("b" * 40, "open"), 10: (SHA, "closed")}

    def listed(_: Asked) -> Answer:
        return Answer(
            [
                {
                    "number": number,
                    "state": state,
                    "head": {"ref": "x", "sha": sha},
                    "labels": [{"id": 3, "name": name} for name in labels[number]],
                }
                for number, (sha, state) in heads.items()
            ]
        )

    def add(number: int) -> Callable[[Asked], Answer]:
        def added(asked: Asked) -> Answer:
            labels[number] |= set(asked.json["labels"])
            return Answer([])

        return added

    def remove(number: int) -> Callable[[Asked], Answer]:
        def removed(asked: Asked) -> Answer:
            assert asked.method == "DELETE"
            labels[number] = set()
            return Answer([])

        return removed

    forge.scripts[f"{HOME}/commits/{SHA}/pulls"] = listed
    for number in labels:
        forge.scripts[f"{HOME}/issues/{number}/labels"] = add(number)
        forge.scripts[f"{HOME}/issues/{number}/labels/status-error"] = remove(number)
    return labels


def test_the_open_pull_requests_of_a_commit_get_a_label_once(
    forge: ForgeServer, app: StatusWriter, pulls: dict[int, set[str]]
) -> None:
    for _ in range(2):
        app.add_label("acme/monorepo", SHA, "status-error")
    assert pulls == {7: {"status-error"}, 8: {"Status-Error"}, 9: set(), 10: {"Status-Error"}}
    assert sum(one.method == "POST" and "/labels" in one.path for one in forge.asked) == 1


def test_a_label_is_taken_from_the_open_pull_requests_of_a_commit(
    app: StatusWriter, pulls: dict[int, set[str]]
) -> None:
    for _ in range(2):
        app.remove_label("acme/monorepo", SHA, "status-error")
    assert pulls == {7: set(), 8: set(), 9: set(), 10: {"Status-Error"}}


@pytest.mark.usefixtures("pulls")
def test_a_label_that_somebody_else_took_away_is_no_fault(forge: ForgeServer, app: StatusWriter) -> None:
    forge.says(f"{HOME}/issues/8/labels/status-error", Answer({"message": "Label does not exist"}, 404))
    app.remove_label("acme/monorepo", SHA, "status-error")
    assert forge.count(f"{HOME}/issues/8/labels/status-error") == 1


def test_a_label_is_set_by_its_number_and_taken_away_again(forge: ForgeServer, gitea: StatusWriter) -> None:
    kept = keeper(forge, {"bug": 29, "Status-Error": 30})
    for _ in range(2):
        gitea.add_label("acme/monorepo", SHA, "STATUS-error")
        assert kept.labels_of == {7: {30}, 9: set()}
    assert forge.counts[f"POST {HOME}/issues/7/labels"] == 1
    for _ in range(2):
        gitea.remove_label("acme/monorepo", SHA, "STATUS-error")
        assert kept.labels_of == {7: set(), 9: set()}


def test_a_label_that_the_repository_lacks_is_created(forge: ForgeServer, gitea: StatusWriter) -> None:
    kept = keeper(forge, {"bug": 29})
    gitea.add_label("acme/monorepo", SHA, "status-error")
    assert (kept.labels, kept.labels_of[7]) == ({"bug": 29, "status-error": 30}, {30})


def test_a_commit_without_open_pull_requests_creates_no_label(forge: ForgeServer, gitea: StatusWriter) -> None:
    kept = keeper(forge, {})
    gitea.add_label("acme/monorepo", "c" * 40, "status-error")
    assert kept.labels == {}
