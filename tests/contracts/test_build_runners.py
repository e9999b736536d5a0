"""
The contract of runners: a request has one build, whose end is told truly.

Over HTTP, by a workflow on the embedded forge, by a command, and in memory.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from notify.domain.forge_settings import CommandRunner, HttpRunner, QueueSettings
from notify.domain.head_ports import BuildRunner, NotFound, RunnerRefused, RunnerUnavailable
from notify.domain.heads import BuildReport, BuildStatus, ProjectResult, Request, RequestId, Strategy
from notify.heads.runners.command import CommandBuildRunner
from notify.heads.runners.command_job import OUTPUT
from notify.heads.runners.http import HttpBuildRunner
from notify.vcs.git import GitSourceControl
from tests.support.ci_server import Ci, ci_server
from tests.support.github_builds import on_github
from tests.support.head_peers import MemoryRunner
from tests.support.remotes import GitRemote, needs_git
from tests.support.wait import until

API = (ProjectResult("api", 0.5),)
URI = f"git://host/repo/refs%2Fheads%2Fmain/{'a' * 40}"


class Peer(Protocol):
    """A runner, and what happens on its other side."""

    @property
    def runner(self) -> BuildRunner: ...

    @property
    def uri(self) -> str:
        """A head that can be built."""

    @property
    def projects(self) -> tuple[ProjectResult, ...]:
        """What a build that failed says of projects."""

    def started(self) -> int:
        """How many builds were started."""

    def end(self, build_id: str, status: BuildStatus) -> None:
        """The build ends so."""


@dataclass
class InMemory:
    runner: MemoryRunner
    uri: str = URI
    projects: tuple[ProjectResult, ...] = API

    def started(self) -> int:
        return len(self.runner.builds)

    def end(self, build_id: str, status: BuildStatus) -> None:
        self.runner.end(build_id, status, ProjectResult("api", 0.5))


@dataclass
class OverHttp:
    ci: Ci
    runner: HttpBuildRunner
    uri: str = URI
    projects: tuple[ProjectResult, ...] = API

    def started(self) -> int:
        return len(self.ci.builds)

    def end(self, build_id: str, status: BuildStatus) -> None:
        self.ci.builds[build_id] = {
            "status": status,
            "url": f"https://ci.example/{build_id}",
            "projects": [{"name": "api", "degree": 0.5}],
        }


@contextmanager
def over_http() -> Iterator[OverHttp]:
    with ci_server() as ci:
        runner = HttpBuildRunner(HttpRunner(url=ci.url))
        yield OverHttp(ci, runner)
        runner.close()


# Waits for the file that says how it is to end.
WAITING = """
import json, os, pathlib, sys, threading
folder = pathlib.Path(sys.argv[1])
with (folder / "started").open("a") as file: file.write("x")
while not (folder / "end").exists(): threading.Event().wait(0.01)
pathlib.Path(os.environ["PROJECTS_FILE"]).write_text(json.dumps({"api": 0.5}))
sys.exit(int((folder / "end").read_text()))
"""


@dataclass
class ByCommand:
    runner: CommandBuildRunner
    folder: Path
    uri: str
    projects: tuple[ProjectResult, ...] = API

    def started(self) -> int:
        file = self.folder / "started"
        return until(lambda: len(file.read_text()) if file.exists() else 0)

    def end(self, build_id: str, status: BuildStatus) -> None:
        del build_id
        unfinished = self.folder / "unfinished"
        unfinished.write_text("0" if status is BuildStatus.SUCCESS else "3")
        unfinished.rename(self.folder / "end")


def by_command(
    folder: Path, command: tuple[str, ...] | None = None, *, seconds: float = 60, output_url: str | None = None
) -> ByCommand:
    remote = GitRemote(folder / "remote.git")
    remote.point("refs/heads/main", remote.commit("first"))
    settings = CommandRunner(command=command or (sys.executable, "-c", WAITING, str(folder)), output_url=output_url)
    queue = QueueSettings(
        name="main",
        forge="github",
        repository="acme/monorepo",
        ref="refs/heads/main",
        remote=str(remote.folder),
        runner=settings,
    )
    source = GitSourceControl(queue, folder / "mirrors")
    runner = CommandBuildRunner(settings, source.repository_with, folder / "builds", seconds=seconds)
    return ByCommand(runner, folder, source.latest())


@pytest.fixture(params=["memory", "http", "github_actions", pytest.param("command", marks=needs_git)])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    match request.param:
        case "memory":
            yield InMemory(MemoryRunner())
        case "http":
            with over_http() as made:
                yield made
        case "github_actions":
            with on_github(tmp_path) as made:
                yield made
        case _:
            command = by_command(tmp_path)
            yield command
            command.end("", BuildStatus.SUCCESS)


def request_of(peer: Peer, number: int = 1) -> Request:
    return Request(id=RequestId("monorepo/main", number), uri=peer.uri, strategy=Strategy.FULL)


def ended(peer: Peer, build_id: str) -> BuildReport:
    until(lambda: peer.runner.report(build_id).status.is_final)
    return peer.runner.report(build_id)


def test_starting_a_request_twice_is_one_build(peer: Peer) -> None:
    first = peer.runner.start(request_of(peer))
    assert peer.runner.start(request_of(peer)) == first
    assert peer.started() == 1


def test_a_build_runs_until_it_ends(peer: Peer) -> None:
    build = peer.runner.start(request_of(peer))
    assert peer.runner.report(build).status is BuildStatus.RUNNING
    peer.end(build, BuildStatus.SUCCESS)
    assert ended(peer, build).status is BuildStatus.SUCCESS


def test_a_build_that_failed_says_which_projects_are_broken(peer: Peer) -> None:
    build = peer.runner.start(request_of(peer))
    peer.end(build, BuildStatus.FAILURE)
    report = ended(peer, build)
    assert report.status is BuildStatus.FAILURE
    assert report.projects == peer.projects


def test_starting_a_request_again_after_its_end_changes_nothing(peer: Peer) -> None:
    build = peer.runner.start(request_of(peer))
    peer.end(build, BuildStatus.FAILURE)
    ended(peer, build)
    assert peer.runner.start(request_of(peer)) == build
    assert peer.runner.report(build).status is BuildStatus.FAILURE


def test_a_running_build_can_be_cancelled(peer: Peer) -> None:
    build = peer.runner.start(request_of(peer))
    peer.started()
    peer.runner.cancel(build)
    assert ended(peer, build).status is BuildStatus.CANCELLED


def test_cancelling_what_has_ended_changes_nothing(peer: Peer) -> None:
    build = peer.runner.start(request_of(peer))
    peer.end(build, BuildStatus.SUCCESS)
    ended(peer, build)
    peer.runner.cancel(build)
    assert peer.runner.report(build).status is BuildStatus.SUCCESS


@pytest.mark.parametrize("name", ["nothing", "../etc", ""])
def test_a_build_that_was_never_started_is_not_found(peer: Peer, name: str) -> None:
    peer.runner.start(request_of(peer))
    with pytest.raises(NotFound):
        peer.runner.report(name)
    with pytest.raises(NotFound):
        peer.runner.cancel(name)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b"{}", RunnerUnavailable),
        (503, b"", RunnerUnavailable),
        (429, b"{}", RunnerUnavailable),
        (200, b"<html>", RunnerUnavailable),
        (200, b"[]", RunnerUnavailable),
        (200, b"{}", RunnerUnavailable),
        (400, b"{}", RunnerRefused),
        (401, b"{}", RunnerRefused),
        (301, b"{}", RunnerRefused),
    ],
)
def test_an_answer_that_is_no_answer_is_told_apart(status: int, body: bytes, expected: type[Exception]) -> None:
    with over_http() as peer:
        peer.ci.instead.append((status, body))
        with pytest.raises(expected):
            peer.runner.start(request_of(peer))
        build = peer.runner.start(request_of(peer))
        peer.ci.instead.append((status, body))
        with pytest.raises(expected):
            peer.runner.report(build)


@pytest.mark.parametrize(
    "projects",
    [[{"name": "api", "degree": 2}], [{"name": "api"}], [{"degree": 1}], ["api"], [{"name": "", "degree": 0}]],
)
def test_a_report_that_makes_no_sense_decides_nothing(projects: list[object]) -> None:
    with over_http() as peer:
        build = peer.runner.start(request_of(peer))
        peer.ci.builds[build] = {"status": "failure", "projects": projects}
        with pytest.raises(RunnerUnavailable):
            peer.runner.report(build)


def test_a_runner_that_is_away_is_unavailable() -> None:
    with over_http() as peer:
        port = peer.ci.server_port
    runner = HttpBuildRunner(HttpRunner(url=f"http://127.0.0.1:{port}/builds"))
    with pytest.raises(RunnerUnavailable):
        runner.start(request_of(InMemory(MemoryRunner())))
    runner.close()


@needs_git
def test_a_command_that_takes_too_long_has_timed_out(tmp_path: Path) -> None:
    peer = by_command(tmp_path, seconds=0.2)
    build = peer.runner.start(request_of(peer))
    assert ended(peer, build).status is BuildStatus.TIMED_OUT


@needs_git
@pytest.mark.parametrize("output_url", [None, "https://builds.example"])
def test_a_command_names_where_its_output_is_shown_if_it_is_anywhere(tmp_path: Path, output_url: str | None) -> None:
    command = by_command(tmp_path, ("echo", "Fine"), output_url=output_url)
    id_ = command.runner.start(request_of(command))
    assert ended(command, id_).url == (output_url and f"{output_url}/{id_}")
    assert (tmp_path / "builds" / id_ / OUTPUT).read_text() == "Fine\n", "what git says is no part of it"


@needs_git
def test_a_command_runs_in_the_commit_and_sees_no_setting_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "a secret of ours")
    script = (
        "import os, pathlib, subprocess, sys;"
        "head = subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True).stdout.strip();"
        "fine = head == os.environ['HEAD_SHA'] and 'GITHUB_WEBHOOK_SECRET' not in os.environ;"
        "sys.exit(0 if fine else 1)"
    )
    peer = by_command(tmp_path, (sys.executable, "-c", script))
    build = peer.runner.start(request_of(peer))
    assert ended(peer, build).status is BuildStatus.SUCCESS
    assert not (tmp_path / "builds" / build / "tree").exists()


@needs_git
def test_a_build_whose_process_was_killed_is_no_verdict(tmp_path: Path) -> None:
    peer = by_command(tmp_path)
    build = peer.runner.start(request_of(peer))
    peer.started()
    kill_job(tmp_path / "builds" / build)
    assert ended(peer, build).status is BuildStatus.UNEXPECTED_ERROR
    peer.end(build, BuildStatus.SUCCESS)


def kill_job(folder: Path) -> None:
    """Kill a build's process and the command that it runs, as a power cut would."""
    job = psutil.Process(json.loads((folder / "pid.json").read_text())["pid"])
    for one in [*job.children(recursive=True), job]:
        one.kill()


@needs_git
def test_a_command_that_cannot_be_run_is_no_verdict(tmp_path: Path) -> None:
    peer = by_command(tmp_path, ("/nowhere/validate",))
    build = peer.runner.start(request_of(peer))
    assert ended(peer, build).status is BuildStatus.UNEXPECTED_ERROR
