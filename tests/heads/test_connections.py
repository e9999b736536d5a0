"""What the forges file names is read once for a process, and reached by connections that the process shares."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from notify import wiring
from notify.domain.errors import InvalidSettings
from notify.domain.heads import Head, Request, RequestId, Strategy
from notify.domain.stages import HEADS, STATUSES
from notify.embedded.forge.workflows import FOLDER
from notify.settings import Settings
from notify.store.database import Database
from notify.worker.runtime import Runtime
from tests.support.ci_server import Ci, ci_server
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.github_builds import FILE, NAMED
from tests.support.remotes import GitRemote, needs_git

pytestmark = needs_git

BUILT_BY_HTTP, BUILT_BY_WORKFLOW = "app/http", "app/workflow"
MAIN = "refs/heads/main"


@dataclass
class Deployment:
    forge: ForgeHarness
    ci: Ci
    remote: GitRemote

    @property
    def settings(self) -> Settings:
        return self.forge.settings

    @property
    def file(self) -> Path:
        return self.forge.forge.configuration

    def push(self) -> str:
        """A new head of both queues, which the forge knows."""
        sha = self.remote.commit("first")
        self.remote.point(MAIN, sha)
        self.forge.forge.state.push(REPOSITORY, "main", by="alice", sha=sha)
        self.forge.forge.state.put_file(REPOSITORY, f"{FOLDER}/{FILE}", NAMED, by="alice")
        return sha

    def connections(self) -> list[int]:
        """The ports of the forge and of the build service to which this process is connected."""
        ports = {int(url.split(":")[2].split("/")[0]) for url in (self.ci.url, self.forge.forge.url)}
        open_ = psutil.Process().net_connections("tcp")
        established = {getattr(one.raddr, "port", None) for one in open_ if one.status == "ESTABLISHED"}
        return [port for port in ports if port in established]


@pytest.fixture
def deployment(database: Database, tmp_path: Path) -> Iterator[Deployment]:
    remote = GitRemote(tmp_path / "remote.git")
    queue = f'forge = "github"\nrepository = "{REPOSITORY}"\nref = "{MAIN}"\nremote = "{remote.folder}"\n'
    with ci_server() as ci:
        configuration = f"""
[queues."{BUILT_BY_HTTP}"]
{queue}runner = {{ kind = "http", url = "{ci.url}" }}

[queues."{BUILT_BY_WORKFLOW}"]
{queue}runner = {{ kind = "github_actions", workflow = "{FILE}", ref = "{MAIN}" }}
"""
        changes = {"data_dir": tmp_path / "data"}
        with forge_harness(database, None, tmp_path, configuration=configuration, changes=changes) as forge:
            yield Deployment(forge, ci, remote)


def test_builds_use_the_token_that_statuses_and_readings_use(deployment: Deployment, database: Database) -> None:
    sha = deployment.push()
    queues = wiring.queues(deployment.settings, database, doorbell=RecordingDoorbell())
    steps = queues.steps(BUILT_BY_WORKFLOW, freed=lambda _: None, checkpoint=lambda _: None)
    calls = deployment.forge.forge.rest.calls
    calls.clear()
    deployment.forge.sweep()
    assert any(path.endswith("/access_tokens") for _, path, _ in calls)
    calls.clear()
    request = Request(id=RequestId(BUILT_BY_WORKFLOW, 1), uri=Head("host/repo", MAIN, sha).uri, strategy=Strategy.FULL)
    steps.runner.start(request)
    assert [(method, path.rpartition("/")[2]) for method, path, _ in calls] == [("GET", "runs"), ("POST", "dispatches")]


def test_a_worker_that_has_stopped_is_connected_to_no_forge_and_no_build_service(deployment: Deployment) -> None:
    deployment.push()
    wiring.close_forges(deployment.forge.worker.database)
    assert deployment.connections() == []
    runtime = Runtime(deployment.settings, serves=frozenset())
    runtime.drain(HEADS)
    runtime.drain(STATUSES)
    assert len(deployment.ci.builds) == 1
    assert len(deployment.forge.forge.state.repository(REPOSITORY).runs) == 1
    assert len(deployment.connections()) == 2
    runtime.stop()
    assert deployment.connections() == []


def test_a_process_reads_the_forges_file_once(deployment: Deployment, database: Database) -> None:
    deployment.file.write_text("[forges.github]\nkind = 'none'\n", encoding="utf-8")
    stage: dict[str, Any] = {"doorbell": RecordingDoorbell(), "worker": uuid4()}
    for made in (wiring.inbox, wiring.reconciler, wiring.statuses, wiring.heads):
        made(deployment.settings, database, **stage).stop(at_most_seconds=0)
    known = wiring.queues(deployment.settings, database, doorbell=RecordingDoorbell())
    assert set(known.settings) == {BUILT_BY_HTTP, BUILT_BY_WORKFLOW}
    another = wiring.database(deployment.settings)
    with pytest.raises(InvalidSettings):
        wiring.forges(deployment.settings, another)
    another.close()
