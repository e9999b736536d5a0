"""A runner of builds on GitHub Actions, whose workflow is on an embedded forge."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from notify import forges_file
from notify.domain.forge_settings import GitHubActionsRunner
from notify.domain.heads import BuildStatus, ProjectResult
from notify.embedded.forge.records import Run
from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.workflows import FOLDER, Workflows
from notify.forges import connect
from notify.heads.runners.github_actions import GitHubActionsBuildRunner
from tests.support.forge_calls import running_forge

REPOSITORY, FILE = "acme/monorepo", "heads.yml"
NAMED = "run-name: Validate ${{ inputs.request }}\non: workflow_dispatch\n"
NAMELESS = "on: workflow_dispatch\n"
DISPATCHES, RUNS, RUN = "/dispatches", f"/actions/workflows/{FILE}/runs", "/actions/runs/"


@dataclass
class OnGitHub:
    """
    A runner, and its side of the forge.

    Attributes:
        at: What the runner takes for the time, in seconds.
    """

    forge: EmbeddedForge
    at: float = 1_800_000_000.5
    uri: str = f"git://host/repo/refs%2Fheads%2Fmain/{'a' * 40}"
    projects: tuple[ProjectResult, ...] = ()

    def __post_init__(self) -> None:
        settings = forges_file.load(self.forge.configuration).forges["github"]
        self.connected = connect.connected(settings)
        assert self.connected.workflows is not None
        self.runner = GitHubActionsBuildRunner(
            GitHubActionsRunner(workflow=FILE, ref="refs/heads/main"),
            self.connected.workflows,
            repository=REPOSITORY,
            now=lambda: self.at,
        )
        self.workflows = Workflows(self.forge.state)

    @property
    def runs(self) -> list[Run]:
        """The oldest first."""
        return list(self.forge.state.repository(REPOSITORY).runs.values())

    def started(self) -> int:
        return len(self.runs)

    def end(self, build_id: str, status: BuildStatus) -> None:
        self.workflows.end(REPOSITORY, int(build_id.rpartition("#")[2]), status.value)

    def define(self, workflow: str) -> None:
        """Have the workflow read so from now on."""
        self.forge.state.put_file(REPOSITORY, f"{FOLDER}/{FILE}", workflow, by="alice")


@contextmanager
def on_github(folder: Path) -> Iterator[OnGitHub]:
    with running_forge(folder / "forge") as forge:
        forge.state.add_repository(REPOSITORY)
        made = OnGitHub(forge)
        made.define(NAMED)
        yield made
        made.connected.reader.close()
