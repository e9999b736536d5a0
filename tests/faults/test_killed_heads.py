"""A worker process that dies between any two steps of a head's way gives it one end, and tells everybody once."""

import json
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
from tests.support.command_queue import GREEN_REF, QUEUE, command_queue, push
from tests.support.doorbell import RecordingDoorbell
from tests.support.fault_scenario import LEASES_END, LOOKS_END
from tests.support.forge import ForgeHarness, forge_harness
from tests.support.remotes import GitRemote, needs_git
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

pytestmark = [needs_git, pytest.mark.slow]

KILLED = -9
INGEST = (
    checkpoints.HEADS_LOOK_TAKEN,
    checkpoints.HEADS_NUMBERED,
    checkpoints.HEADS_URI_CLAIMED,
    checkpoints.HEADS_REQUEST_CREATED,
)
UNTIL_VERDICT = (
    *INGEST,
    checkpoints.HEADS_CLAIMED,
    checkpoints.HEADS_SLOT_TAKEN,
    checkpoints.HEADS_PROCESSING,
    checkpoints.HEADS_BUILD_STARTED,
    checkpoints.HEADS_BUILD_CREATED,
    checkpoints.HEADS_BUILD_RECORDED,
    checkpoints.HEADS_SLOT_RELEASED,
)
BROKEN = (*UNTIL_VERDICT, checkpoints.HEADS_FAILED, checkpoints.HEADS_FACTS_RECORDED, checkpoints.HEADS_TOLD)
REPAIRED = (
    checkpoints.HEADS_SUCCEEDED,
    checkpoints.HEADS_FACTS_RECORDED,
    checkpoints.HEADS_GREEN_RECORDED,
    checkpoints.HEADS_PROMOTED,
    checkpoints.HEADS_TOLD,
)
CANCELLED = (checkpoints.HEADS_CANCELLED, checkpoints.HEADS_TOLD)
SUPERSEDED = (checkpoints.HEADS_CLAIMED, checkpoints.HEADS_SUPERSEDED)
FORCED = (checkpoints.HEADS_SLOT_RELEASED, checkpoints.HEADS_FAILED, checkpoints.HEADS_TOLD)
GIVEN_UP = (
    checkpoints.HEADS_SLOT_RELEASED,
    checkpoints.HEADS_FAILED,
    checkpoints.HEADS_BUILD_CANCELLED,
    checkpoints.HEADS_TOLD,
)
TIME_PASSES = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'heads' AND lane < 8"
LOOK = "UPDATE notify.queue_polls SET due_at = now()"
SPEND_BUDGET = "UPDATE notify.work_items SET failures = max_failures - 1 WHERE stage = 'heads'"
BROKEN_EMAIL = ("bob", "queue.head.broken", "author")
RECOVERED_EMAIL = ("bob", "queue.head.recovered", "author")
STUCK_EMAIL = ("dana", "queue.request.stuck", "operator")


@dataclass
class Heads:
    """A queue on a git repository, a worker that may be killed, and another that takes over."""

    forge: ForgeHarness
    remote: GitRemote
    stage: HeadsStage
    environment: Mapping[str, str]
    log: Path

    def push(self, title: str) -> str:
        return push(self.remote, title, by="bob")

    def ingest(self) -> None:
        """Take in the newest head, and leave it."""
        wiring.ingest(self.forge.settings, self.forge.worker.database)(QUEUE)

    def die_at(self, point: str) -> None:
        """A worker process, which sends nothing, works until it is killed at this point; then its leases end."""
        self.forge.rows(TIME_PASSES)
        self.forge.rows(LOOK)
        with bare_worker({**self.environment, CRASH_AT: point}, self.log) as doomed:
            assert doomed.wait_until_dead() == KILLED, self.log.read_text()
        self.forge.rows(LEASES_END)
        self.forge.rows(LOOKS_END)

    def finish(self) -> None:
        """Work until every request is at its end, and send all emails."""

        def is_ended() -> bool:
            self.forge.rows(TIME_PASSES)
            self.stage.drain()
            return not self.forge.rows("SELECT id FROM notify.work_items WHERE stage = 'heads' AND lane < 9")

        until(is_ended)
        self.forge.deliver()

    def check(
        self, *heads: tuple[str, float | None, str], events: list[str], emails: list[tuple[str, str, str]]
    ) -> None:
        """
        One request for each head, and what is said of it everywhere.

        Args:
            heads: Of each in turn: the state of its request, its degree, the state that its commit is to show.
            events: Their types.
        """
        known = self.forge.rows("""
            SELECT request.state, fact.degree, shown.state FROM notify.requests AS request
            LEFT JOIN notify.facts AS fact USING (queue, uri)
            LEFT JOIN notify.commit_statuses AS shown ON request.uri LIKE '%/' || shown.sha
            ORDER BY request.id
        """)
        assert [tuple(row) for row in known] == list(heads)
        told = self.forge.rows("SELECT type FROM notify.events WHERE topic LIKE 'queue:%' ORDER BY id")
        assert [row.type for row in told] == [f"queue.{one}" for one in events]
        assert self.forge.emails() == emails
        assert self.forge.rows("SELECT in_flight_count FROM notify.queues") == [(0,)]


@pytest.fixture
def heads(database: Database, relay: ScriptedRelay, environment: Mapping[str, str], tmp_path: Path) -> Iterator[Heads]:
    remote = GitRemote(tmp_path / "remote.git")
    changes = {"data_dir": tmp_path / "data", "poll_seconds": 3600, "operators": "dana"}
    configuration = command_queue(remote, tmp_path / "gate")
    with forge_harness(database, relay.url, tmp_path, configuration=configuration, changes=changes) as forge:
        complete = {
            **environment,
            "NOTIFY_FORGES_FILE": str(forge.settings.forges_file),
            "NOTIFY_DATA_DIR": str(tmp_path / "data"),
            "NOTIFY_OPERATORS": "dana",
            "NOTIFY_POLL_SECONDS": "3600",
            "NOTIFY_SWEEP_SECONDS": "0.2",
        }
        stage = wiring.heads(forge.settings, database, doorbell=RecordingDoorbell(), worker=uuid4())
        yield Heads(forge, remote, stage, complete, tmp_path / "bare_worker.log")
        stage.stop()


@pytest.mark.parametrize("point", BROKEN)
def test_a_head_that_is_broken_is_told_once_wherever_its_worker_dies(heads: Heads, point: str) -> None:
    heads.push("broken change")
    heads.die_at(point)
    heads.finish()
    heads.check(("failed", 1, "failure"), events=["head.broken"], emails=[BROKEN_EMAIL])


@pytest.mark.parametrize("point", REPAIRED)
def test_a_head_that_repairs_its_queue_is_told_and_promoted_once_wherever_its_worker_dies(
    heads: Heads, point: str
) -> None:
    heads.push("broken change")
    heads.ingest()
    heads.finish()
    sha = heads.push("repaired")
    heads.die_at(point)
    heads.finish()
    heads.check(
        ("failed", 1, "failure"),
        ("succeeded", 0, "success"),
        events=["head.broken", "head.recovered"],
        emails=[BROKEN_EMAIL, RECOVERED_EMAIL],
    )
    assert heads.remote.ref(GREEN_REF) == sha


@pytest.mark.parametrize("point", CANCELLED)
def test_a_head_whose_build_is_cancelled_is_told_to_nobody_wherever_its_worker_dies(heads: Heads, point: str) -> None:
    heads.push("cancelled")
    heads.die_at(point)
    heads.finish()
    heads.check(("cancelled", None, "error"), events=[], emails=[])


@pytest.mark.parametrize("point", SUPERSEDED)
def test_a_head_that_gives_way_is_told_to_nobody_wherever_its_worker_dies(heads: Heads, point: str) -> None:
    heads.push("overtaken")
    heads.ingest()
    heads.push("broken change")
    heads.ingest()
    heads.die_at(point)
    heads.finish()
    heads.check(("superseded", None, "error"), ("failed", 1, "failure"), events=["head.broken"], emails=[BROKEN_EMAIL])


@pytest.mark.parametrize("point", FORCED)
def test_a_head_that_cannot_be_validated_is_told_to_operators_once_wherever_its_worker_dies(
    heads: Heads, point: str
) -> None:
    heads.push("out of reach")
    heads.ingest()
    heads.remote.folder.rename(heads.remote.folder.with_suffix(".away"))
    heads.forge.rows(SPEND_BUDGET)
    heads.die_at(point)
    heads.finish()
    heads.check(("failed", None, "error"), events=["request.stuck"], emails=[STUCK_EMAIL])


@pytest.mark.parametrize("point", GIVEN_UP)
def test_the_build_of_a_head_that_is_given_up_ends_wherever_its_worker_dies(
    heads: Heads, point: str, tmp_path: Path
) -> None:
    heads.push("slow")
    heads.die_at(checkpoints.HEADS_BUILD_CREATED)
    for _ in range(2):
        heads.die_at(checkpoints.HEADS_CLAIMED)
    heads.die_at(point)
    heads.finish()
    heads.check(("failed", None, "error"), events=["request.stuck"], emails=[STUCK_EMAIL])
    (build,) = (tmp_path / "data" / "heads" / "builds").iterdir()
    until((build / "result.json").exists)
    assert json.loads((build / "result.json").read_text())["status"] == "cancelled"


def test_a_head_that_kills_three_workers_is_told_to_operators_once(heads: Heads) -> None:
    heads.push("deadly")
    heads.ingest()
    for point in (checkpoints.HEADS_PROCESSING, checkpoints.HEADS_CLAIMED, checkpoints.HEADS_CLAIMED):
        heads.die_at(point)
    heads.finish()
    heads.check(("failed", None, "error"), events=["request.stuck"], emails=[STUCK_EMAIL])
