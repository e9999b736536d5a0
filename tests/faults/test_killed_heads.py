"""A worker process that dies between any two steps of a head's way gives it one verdict, and tells everybody once."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from notify import checkpoints, wiring
from notify.checkpoints import CRASH_AT
from notify.heads.stage import HeadsStage
from notify.store.database import Database
from tests.support.bare_worker import bare_worker
from tests.support.doorbell import RecordingDoorbell
from tests.support.fault_scenario import LEASES_END
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.remotes import GitRemote, needs_git
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

pytestmark = needs_git

KILLED = -9
QUEUE = "app/main"
MAIN, GREEN_REF = "refs/heads/main", "refs/heads/green"
VERDICT = (
    "import subprocess, sys; "
    "log = subprocess.run(['git', 'log', '-1', '--format=%s'], capture_output=True, text=True, check=True).stdout; "
    "sys.exit('broken' in log)"
)
UNTIL_VERDICT = (
    checkpoints.HEADS_SLOT_TAKEN,
    checkpoints.HEADS_PROCESSING,
    checkpoints.HEADS_BUILD_STARTED,
    checkpoints.HEADS_BUILD_RECORDED,
)
BROKEN = (*UNTIL_VERDICT, checkpoints.HEADS_FAILED, checkpoints.HEADS_FACTS_RECORDED, checkpoints.HEADS_TOLD)
REPAIRED = (checkpoints.HEADS_SUCCEEDED, checkpoints.HEADS_GREEN_RECORDED, checkpoints.HEADS_FACTS_RECORDED)
MAKE_DUE = """
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'heads' AND lane < 8;
    UPDATE notify.queue_polls SET due_at = now();
"""
ENDED = "SELECT id FROM notify.requests WHERE finished_at IS NOT NULL"
DEGREES = "SELECT request_id, degree FROM notify.facts ORDER BY request_id"
EVENTS = "SELECT type FROM notify.events WHERE topic LIKE 'queue:%' ORDER BY id"
SLOTS = "SELECT in_flight_count FROM notify.queues"
ITEMS = "SELECT id FROM notify.work_items WHERE stage = 'heads'"


@dataclass
class Heads:
    """A queue on a git repository, a worker that may be killed, and another that takes over."""

    forge: ForgeHarness
    remote: GitRemote
    stage: HeadsStage
    environment: Mapping[str, str]
    log: Path

    def push(self, title: str, *, by: str) -> str:
        parent = self.remote.ref(MAIN)
        sha = self.remote.commit(title, *([parent] if parent else []), author=by, email=f"{by}@example.com")
        self.remote.point(MAIN, sha)
        return sha

    def die_at(self, point: str) -> None:
        """A worker process, which sends nothing, works until it is killed at this point."""
        self.forge.rows(MAKE_DUE)
        with bare_worker({**self.environment, CRASH_AT: point}, self.log) as doomed:
            assert doomed.wait_until_dead() == KILLED, self.log.read_text()

    def finish(self, *, requests: int) -> None:
        """Work until so many requests are at their end, and send all emails."""

        def is_ended() -> bool:
            self.forge.rows(MAKE_DUE)
            self.stage.drain()
            return len(self.forge.rows(ENDED)) == requests and not self.forge.rows(ITEMS)

        until(is_ended)
        self.forge.deliver()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in self.forge.rows(statement)]


@pytest.fixture
def heads(database: Database, relay: ScriptedRelay, environment: Mapping[str, str], tmp_path: Path) -> Iterator[Heads]:
    remote = GitRemote(tmp_path / "remote.git")
    configuration = f"""
[queues."{QUEUE}"]
forge = "github"
repository = "{REPOSITORY}"
ref = "{MAIN}"
remote = "{remote.folder}"
promotion_ref = "{GREEN_REF}"
runner = {{ kind = "command", command = [{sys.executable!r}, "-c", '''{VERDICT}'''] }}
"""
    data = tmp_path / "data"
    changes = {"data_dir": data, "poll_seconds": 3600}
    with forge_harness(database, relay.url, tmp_path, configuration=configuration, changes=changes) as forge:
        complete = {
            **environment,
            "NOTIFY_FORGES_FILE": str(forge.settings.forges_file),
            "NOTIFY_DATA_DIR": str(data),
            "NOTIFY_SWEEP_SECONDS": "0.2",
        }
        stage = wiring.heads(forge.settings, database, doorbell=RecordingDoorbell(), worker=uuid4())
        yield Heads(forge, remote, stage, complete, tmp_path / "bare_worker.log")
        stage.stop()


@pytest.mark.slow
@pytest.mark.parametrize("point", BROKEN)
def test_a_head_that_is_broken_is_told_once_wherever_its_worker_dies(heads: Heads, point: str) -> None:
    heads.push("broken change", by="bob")
    heads.die_at(point)

    heads.forge.rows(LEASES_END)
    heads.finish(requests=1)

    assert heads.rows(DEGREES) == [(1, 1)]
    assert heads.rows(EVENTS) == [("queue.head.broken",)]
    assert heads.forge.emails() == [("bob", "queue.head.broken", "author")]
    assert heads.rows(SLOTS) == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("point", REPAIRED)
def test_a_head_that_repairs_its_queue_is_told_and_promoted_once_wherever_its_worker_dies(
    heads: Heads, point: str
) -> None:
    heads.push("broken change", by="bob")
    heads.finish(requests=1)
    sha = heads.push("repaired", by="bob")
    heads.die_at(point)

    heads.forge.rows(LEASES_END)
    heads.finish(requests=2)

    assert heads.rows(DEGREES) == [(1, 1), (2, 0)]
    assert heads.rows(EVENTS) == [("queue.head.broken",), ("queue.head.recovered",)]
    assert heads.forge.emails() == [("bob", "queue.head.broken", "author"), ("bob", "queue.head.recovered", "author")]
    assert heads.rows(SLOTS) == [(0,)]
    assert heads.remote.ref(GREEN_REF) == sha
