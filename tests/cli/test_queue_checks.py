"""What the doctor finds about queues."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notify.domain.heads import BuildStatus
from notify.store.database import Database
from notify.store.heads import polls
from tests.cli.conftest import Notify
from tests.support.harness import MINUTE
from tests.support.queues import queue_settings, world_of
from tests.support.remotes import GitRemote, needs_git
from tests.support.smtp import nobody_listening

pytestmark = needs_git

QUEUE = "monorepo/main"
MAIN = "refs/heads/main"
FORGES = """
[forges.github]
kind = "github"
api_url = "http://127.0.0.1:9"
web_url = "http://127.0.0.1:9"
token = "env:QUEUE_CHECKS_TOKEN"
webhook_secrets = ["env:QUEUE_CHECKS_TOKEN"]
"""
ABOUT = ("git", f"heads of {QUEUE}", f"runner of {QUEUE}", "polls of refs", "verdicts")
Configure = Callable[[str], None]


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    remote = GitRemote(tmp_path / "remote.git")
    remote.point(MAIN, remote.commit("first"))
    return remote


@pytest.fixture
def configure(remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Configure the queue with this runner."""
    file = tmp_path / "forges.toml"
    monkeypatch.setenv("QUEUE_CHECKS_TOKEN", "s" * 32)
    monkeypatch.setenv("NOTIFY_FORGES_FILE", str(file))
    monkeypatch.setenv("NOTIFY_DATA_DIR", str(tmp_path / "data"))

    def write(runner: str) -> None:
        queue = f'forge = "github"\nrepository = "acme/monorepo"\nref = "{MAIN}"\nremote = "{remote.folder}"\n'
        file.write_text(f'{FORGES}[queues."{QUEUE}"]\n{queue}runner = {{ {runner} }}\n')

    write(f'kind = "command", command = ["{sys.executable}"]')
    return write


def found(notify: Notify) -> dict[str, Any]:
    """What was found about queues, by what it is about."""
    return {one["about"]: one for one in notify("doctor", "--json").json if one["about"] in ABOUT}


def test_where_no_queue_is_configured_nothing_is_said_of_queues(notify: Notify) -> None:
    assert found(notify) == {}


@pytest.mark.usefixtures("configure")
def test_a_queue_that_is_well_has_no_findings(notify: Notify) -> None:
    assert {about: one["ok"] for about, one in found(notify).items()} == dict.fromkeys(ABOUT, True)


@pytest.mark.usefixtures("configure")
def test_a_ref_that_is_not_there_is_named(notify: Notify, remote: GitRemote) -> None:
    remote.delete(MAIN)
    assert not found(notify)[f"heads of {QUEUE}"]["ok"]


@pytest.mark.usefixtures("configure")
def test_a_machine_without_git_is_told(notify: Notify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = found(notify)
    assert not said["git"]["ok"]
    assert f"heads of {QUEUE}" not in said


def test_a_runner_that_does_not_answer_is_named(notify: Notify, configure: Configure) -> None:
    with nobody_listening() as port:
        configure(f'kind = "http", url = "http://127.0.0.1:{port}/builds"')
        assert not found(notify)[f"runner of {QUEUE}"]["ok"]


@pytest.mark.parametrize(
    ("program", "said"), [("no-such-program", False), ("/no/such/program", False), ("./in-the-checkout", None)]
)
def test_a_command_that_is_no_program_here_is_named_unless_it_is_in_the_checkout(
    notify: Notify, configure: Configure, program: str, said: bool | None
) -> None:
    configure(f'kind = "command", command = ["{program}"]')
    assert found(notify).get(f"runner of {QUEUE}", {}).get("ok") is said


@pytest.mark.usefixtures("configure")
def test_a_queue_that_workers_cannot_look_at_is_named(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        gone, known = polls.take(connection, [QUEUE, "gone/main"], every=MINUTE, most=8)
        polls.note(connection, gone, every=MINUTE, fault="no answer")
    assert found(notify)["polls of refs"]["ok"]
    with database.begin() as connection:
        polls.note(connection, known, every=MINUTE, fault="no answer")
    said = found(notify)["polls of refs"]
    assert (said["ok"], QUEUE in said["found"]) == (False, True)


@pytest.mark.usefixtures("configure")
def test_heads_that_could_not_be_validated_are_counted_until_one_is(notify: Notify, database: Database) -> None:
    world = world_of(database, queue_settings(QUEUE))
    for _ in range(2):
        world.push()
        id_ = world.queues.ingest(QUEUE)
        world.drain()
        world.runner.lose(world.runner.started[id_])
        world.drain()
    said = found(notify)["verdicts"]
    assert (said["ok"], f"2 of {QUEUE}" in said["found"]) == (False, True)
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    world.end(id_, BuildStatus.FAILURE)
    world.drain()
    assert found(notify)["verdicts"]["ok"]
    world.stage.stop()
