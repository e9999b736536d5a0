"""
The whole story: a push reaches the forge, its head is validated by a command on a real checkout, the commit shows it,
the right people are mailed, and the green ref follows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from notify import wiring
from notify.heads.stage import HeadsStage
from notify.statuses.apply import StatusStage
from notify.store.database import Database
from tests.cli.conftest import Notify, notify  # noqa: F401 - a fixture
from tests.support.command_queue import GREEN_REF, QUEUE, command_queue, push
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.remotes import GitRemote, needs_git
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

pytestmark = needs_git


@dataclass
class Story:
    forge: ForgeHarness
    remote: GitRemote
    heads: HeadsStage
    statuses: StatusStage
    requests: int = 0

    def push(self, title: str, *, by: str) -> str:
        """Push a commit, and follow it until it is validated, shown and told."""
        sha = push(self.remote, title, by=by)
        self.forge.forge.state.push(REPOSITORY, "main", by=by, sha=sha)
        self.forge.take_webhooks()
        self.follow()
        return sha

    def follow(self) -> None:
        """Follow the newest request until it is at its end, shown and told."""
        self.requests += 1
        until(self._is_ended)
        self.statuses.drain()
        self.forge.deliver()

    def shown(self, sha: str) -> list[str]:
        """Every state that the commit showed, in order."""
        calls = self.forge.forge.state.statuses.calls
        return [one.state for one in calls if one.sha == sha and one.context == f"notify/{QUEUE}"]

    def _is_ended(self) -> bool:
        self.forge.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'heads' AND lane < 8")
        self.heads.drain()
        ended = self.forge.rows("SELECT id FROM notify.requests WHERE finished_at IS NOT NULL")
        return len(ended) == self.requests


@pytest.fixture
def story(database: Database, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    remote = GitRemote(tmp_path / "remote.git")
    configuration = command_queue(remote, tmp_path / "gate")
    changes = {"data_dir": tmp_path / "data", "poll_seconds": 3600}
    with forge_harness(database, relay.url, tmp_path, configuration=configuration, changes=changes) as forge:
        monkeypatch.setenv("NOTIFY_FORGES_FILE", str(forge.settings.forges_file))
        monkeypatch.setenv("NOTIFY_DATA_DIR", str(tmp_path / "data"))
        stages = {"doorbell": RecordingDoorbell(), "worker": uuid4()}
        heads = wiring.heads(forge.settings, database, **stages)  # type: ignore[arg-type]
        statuses = wiring.statuses(forge.settings, database, **stages)  # type: ignore[arg-type]
        yield Story(forge, remote, heads, statuses)
        heads.stop()
        statuses.stop(at_most_seconds=0)


def test_a_queue_breaks_and_recovers(story: Story, notify: Notify) -> None:  # noqa: F811
    first = story.push("first", by="alice")
    assert story.remote.ref(GREEN_REF) == first
    broken = story.push("broken change", by="bob")
    assert story.remote.ref(GREEN_REF) == first
    still = story.push("broken still", by="carol")
    fixed = story.push("fixed", by="dana")
    assert story.remote.ref(GREEN_REF) == fixed
    assert [story.shown(one)[-1] for one in (first, broken, still, fixed)] == [
        "success",
        "failure",
        "failure",
        "success",
    ]
    assert story.forge.emails() == [
        ("bob", "queue.head.broken", "author"),
        ("bob", "queue.head.recovered", "author"),
        ("carol", "queue.head.broken", "author"),
        ("carol", "queue.head.recovered", "author"),
    ]
    (queue,) = notify("queues", "list", "--json").json
    assert (queue["name"], queue["last_green_request_id"], queue["unfinished"]) == (QUEUE, 4, 0)
    history = notify("queues", "history", QUEUE, "--json").json
    assert [(one["sha"], one["degree"]) for one in history] == [(fixed, 0), (still, 1), (broken, 1), (first, 0)]
    assert notify("queues", "show", QUEUE).code == 0
    assert notify("queues", "ingest", QUEUE).output.strip() == f"request/{QUEUE}/4"
    assert notify("queues", "show", "app/next").code == 1


def test_an_operator_has_a_head_validated_again(story: Story, notify: Notify) -> None:  # noqa: F811
    sha = story.push("cancelled", by="bob")
    assert notify("queues", "retry", QUEUE).output.strip() == f"request/{QUEUE}/2"
    refused = notify("queues", "retry", QUEUE)
    assert (refused.code, f"request/{QUEUE}/2" in str(refused.error)) == (1, True)
    story.follow()
    assert story.shown(sha)[-1] == "error"
    assert notify("queues", "retry", QUEUE, "--json").json == {"id": f"request/{QUEUE}/3"}
    story.follow()
    assert len(story.forge.rows("SELECT DISTINCT id FROM notify.builds")) == 3
    assert notify("queues", "history", QUEUE, "--json").json[0]["request_id"] == 3
