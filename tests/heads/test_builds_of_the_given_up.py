"""A request that is closed without a verdict leaves no build running, where its runner can be reached."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from notify.domain.forge_settings import CommandRunner, HttpRunner
from notify.domain.heads import BuildStatus, RequestState
from notify.heads.runners.command import CommandBuildRunner
from notify.heads.runners.http import HttpBuildRunner
from notify.store.database import Database
from notify.vcs.git import GitSourceControl
from tests.support.ci_server import ci_server
from tests.support.command_queue import push
from tests.support.queues import World, queue_settings, world_of
from tests.support.remotes import GitRemote, needs_git
from tests.support.wait import until

QUEUE = "monorepo/main"
ENDLESS = "import threading; threading.Event().wait(60)"


@needs_git
def test_the_processes_of_a_command_end(database: Database, tmp_path: Path) -> None:
    remote = GitRemote(tmp_path / "remote.git")
    queue = replace(queue_settings(), remote=str(remote.folder))
    source = GitSourceControl(queue, tmp_path / "mirrors")
    settings = CommandRunner(command=(sys.executable, "-c", ENDLESS))
    runner = CommandBuildRunner(settings, source.repository_with, tmp_path / "builds")
    world = world_of(database, queue, instead=runner, source_of=lambda *_: source)
    push(remote, "endless", by="dana")
    world.queues.ingest(QUEUE)
    world.stage.drain()
    (build,) = (tmp_path / "builds").iterdir()
    job = psutil.Process(until(lambda: _pid(build)))
    (command,) = until(job.children)
    world.kill_twice()
    world.stage.drain()
    until(lambda: not job.is_running() and not command.is_running())
    assert runner.report(build.name).status is BuildStatus.CANCELLED
    world.stage.stop()


def _pid(build: Path) -> int:
    file = build / "pid.json"
    pid: int = json.loads(file.read_text())["pid"] if file.exists() else 0
    return pid


def test_a_build_service_is_asked_for_the_end(database: Database) -> None:
    with ci_server() as ci, building(database, ci.url) as (world, runner):
        (build,) = ci.builds
        world.spend_budget()
        ci.instead.append((503, b""))
        world.drain()
        assert ci.builds[build]["status"] == "cancelled"
        assert runner.report(build).status is BuildStatus.CANCELLED
        assert_given_up(world)


def test_a_build_service_that_is_away_keeps_no_request_from_its_end(database: Database) -> None:
    with ExitStack() as stack:
        with ci_server() as ci:
            world, runner = stack.enter_context(building(database, ci.url))
            runner.close()
        world.spend_budget()
        world.drain()
        assert_given_up(world)


@contextmanager
def building(database: Database, url: str) -> Iterator[tuple[World, HttpBuildRunner]]:
    """A request whose build runs at this service."""
    runner = HttpBuildRunner(HttpRunner(url=url))
    world = world_of(database, queue_settings(), instead=runner)
    world.push()
    world.queues.ingest(QUEUE)
    world.stage.drain()
    try:
        yield world, runner
    finally:
        world.stage.stop()
        runner.close()


def assert_given_up(world: World) -> None:
    ((id_, ends),) = world.reporter.ends.items()
    assert [one.state for one in ends] == [RequestState.FAILED]
    assert world.get(id_).forced
    assert world.stores.queues.get(QUEUE).in_flight == frozenset()
