"""Forges that show statuses, in memory and the embedded one, and the stage, to be run step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import text

from notify import wiring
from notify.domain.forge_answers import AnswerMeaning, ForgeFault
from notify.domain.forge_ports import ForgeReader, WebhookParser
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.domain.statuses import AppliedStatus, StatusKind, WantedStatus
from notify.embedded.forge.server import EmbeddedForge, forging
from notify.settings import Settings
from notify.statuses.apply import Statuses, StatusStage
from notify.statuses.publish import publish
from notify.statuses.schema import parse
from notify.store.database import Database
from notify.store.statuses.publishing import PublishReceipt
from notify.work.forges import Forge, Forges
from notify.work.stage import BatchStage
from tests.support.doorbell import RecordingDoorbell

FORGE = "github"
SHA = "a" * 40
LEASE = timedelta(minutes=1)
BATCH = 100

# What happens to a call instead of, or before, its answer.
Trouble = Callable[[WantedStatus], None]


def fault(meaning: AnswerMeaning, *, status: int | None = None, installation: int | None = None) -> ForgeFault:
    return ForgeFault(forge=FORGE, request="POST /x", status=status, meaning=meaning, installation=installation)


def refuses(meaning: AnswerMeaning, *, status: int | None = None, installation: int | None = None) -> Trouble:
    """The forge does not do what it is asked."""

    def answer(_: WantedStatus) -> None:
        raise fault(meaning, status=status, installation=installation)

    return answer


@dataclass
class CheckRun:
    id: int
    name: str
    external_id: str
    states: list[str]


@dataclass
class MemoryForge:
    """
    A ``StatusWriter`` that keeps what it was told, in order.

    Args:
        before: Called one for a call, in order, before the forge does what it is asked.
        after: The same, once the forge has done it and before it answers.
        always: Called at each call for which ``before`` has nothing.
        installations: By owner; an owner without one has none.
        names: Present names, by former ones.
    """

    before: list[Trouble | None] = field(default_factory=list)
    after: list[Trouble | None] = field(default_factory=list)
    always: Trouble | None = None
    installations: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    shown: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    check_runs: list[CheckRun] = field(default_factory=list)
    calls: list[WantedStatus] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _lock: Any = field(default_factory=Lock)
    _numbers: Iterator[int] = field(default_factory=lambda: count(101))

    def installation(self, full_name: str) -> int | None:
        return self.installations.get(full_name.partition("/")[0])

    def apply(self, wanted: WantedStatus) -> AppliedStatus:
        with self._lock:
            self.calls.append(wanted)
            before = self.before.pop(0) if self.before else self.always
            after = self.after.pop(0) if self.after else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if before:
                before(wanted)
            with self._lock:
                applied = self._show(wanted)
            if after:
                after(wanted)
            return applied
        finally:
            with self._lock:
                self.at_once -= 1

    def add_label(self, full_name: str, sha: str, label: str) -> None:
        self.labels.append(f"+{label} {full_name} {sha}")

    def remove_label(self, full_name: str, sha: str, label: str) -> None:
        self.labels.append(f"-{label} {full_name} {sha}")

    def _show(self, wanted: WantedStatus) -> AppliedStatus:
        status = wanted.status
        name = self.names.get(status.repository, status.repository)
        if status.kind is StatusKind.STATUS:
            self.shown.setdefault((name, status.sha, status.context), []).append(status.state)
            return AppliedStatus(remote_id=None, repository=name)
        run = self._found(wanted) or CheckRun(next(self._numbers), status.context, wanted.external_id, [])
        if run not in self.check_runs:
            self.check_runs.append(run)
        run.states.append(status.state)
        return AppliedStatus(remote_id=run.id, repository=name)

    def _found(self, wanted: WantedStatus) -> CheckRun | None:
        for one in self.check_runs:
            is_looked_for = wanted.look and (one.name, one.external_id) == (wanted.status.context, wanted.external_id)
            if one.id == wanted.remote_id or is_looked_for:
                return one
        return None


@dataclass
class StatusHarness:
    """Applications that publish, and a worker's stage."""

    database: Database
    stage: StatusStage
    doorbell: RecordingDoorbell

    def publish(self, *given: Mapping[str, Any]) -> list[PublishReceipt]:
        with self.database.begin() as connection:
            return publish(connection, [parse(one) for one in given])

    def drain(self) -> Mapping[str, float]:
        return self.stage.drain()

    def make_due(self) -> None:
        """As if every delay had passed."""
        self.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'statuses' AND lane < 8")
        self.execute("UPDATE notify.commit_statuses SET applied_at = applied_at - interval '1 minute'")

    def end_leases(self) -> None:
        """As if the worker that has them had vanished long ago."""
        self.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'statuses' AND lane = 8")

    def execute(self, statement: str) -> Sequence[Any]:
        with self.database.begin() as connection:
            found = connection.execute(text(statement))
            return [tuple(row) for row in found] if found.returns_rows else []

    def targets(self, *columns: str) -> Sequence[Any]:
        return self.execute(f"SELECT {', '.join(columns)} FROM notify.commit_statuses ORDER BY id")  # noqa: S608

    def items(self) -> Sequence[Any]:
        return self.execute(
            "SELECT lane, attempt, failures, reason FROM notify.work_items WHERE stage = 'statuses' ORDER BY id"
        )


def wanted(**changes: Any) -> dict[str, Any]:
    """A status to publish."""
    return {
        "forge": FORGE,
        "repository": "acme/app",
        "sha": SHA,
        "context": "ci/build",
        "state": "pending",
        **changes,
    }


def check_run(**changes: Any) -> dict[str, Any]:
    """A check run to publish."""
    return wanted(**{"kind": "check_run", "state": "in_progress", **changes})


@contextmanager
def status_stage(
    database: Database, forge: MemoryForge, *, lease: timedelta = LEASE, worker: UUID | None = None, **settings: Any
) -> Iterator[StatusHarness]:
    """
    Args:
        settings: Of the forge.
    """
    doorbell = RecordingDoorbell()
    configured = ForgeSettings(
        **{
            "name": FORGE,
            "kind": ForgeKind.GITHUB,
            "api_url": "https://api.example",
            "web_url": "https://example",
            "webhook_secrets": (),
            **settings,
        }
    )
    nothing = cast("ForgeReader", None), cast("WebhookParser", None)
    forges = Forges(database, {FORGE: Forge(configured, reader=nothing[0], parser=nothing[1], writer=forge)})
    handler = Statuses(database, forges, doorbell=doorbell, lease=lease, rng=Random(1))
    batch = BatchStage(
        handler,
        database,
        ring=lambda: doorbell.ring("statuses"),
        worker=worker or uuid4(),
        lease=lease,
        batch=BATCH,
        at_most=timedelta(seconds=20),
        rng=Random(1),
    )
    yield StatusHarness(database, StatusStage(handler, batch, database, forges), doorbell)
    handler.close()


@dataclass
class EmbeddedStatuses(StatusHarness):
    """Statuses on one commit of a repository of the embedded forge."""

    forge: EmbeddedForge
    settings: Settings
    sha: str

    def status(self, **changes: Any) -> dict[str, Any]:
        return wanted(**{"sha": self.sha, **changes})

    def check_run(self, **changes: Any) -> dict[str, Any]:
        return check_run(**{"sha": self.sha, **changes})

    def states(self, context: str = "ci/build") -> list[str]:
        """The states that the forge was told of a context on the commit, the oldest first."""
        calls = self.forge.state.statuses.of(self._repository_id, self.sha, context)
        return [one.state for one in calls]

    def runs(self) -> list[tuple[str, str]]:
        """Name and state of every check run on the commit, the newest first."""
        return [(one.name, one.state) for one in self.forge.state.statuses.runs(self._repository_id, self.sha)]

    @property
    def _repository_id(self) -> int:
        return self.forge.state.repository("acme/app").id


@contextmanager
def embedded_statuses(database: Database, folder: Path, *, configuration: str = "") -> Iterator[EmbeddedStatuses]:
    """
    Args:
        configuration: TOML, after what the forge says of itself.
    """
    with forging(folder / "forge", webhook_url=None) as forge:
        forge.configuration.write_text(forge.configuration.read_text() + configuration)
        repository = forge.state.add_repository("acme/app")
        settings = Settings(database_url=database.url, forges_file=forge.configuration)
        doorbell = RecordingDoorbell()
        stage = wiring.statuses(settings, database, doorbell=doorbell, worker=uuid4())
        sha = repository.branches[repository.default_branch]
        yield EmbeddedStatuses(database, stage, doorbell, forge=forge, settings=settings, sha=sha)
        stage.stop()
        wiring.forges(settings, database).close()
