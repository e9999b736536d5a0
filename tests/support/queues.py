"""Queues on remotes in memory, with the stores of PostgreSQL, and the stage that works on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from notify import wiring
from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.claims import Lane
from notify.domain.forge_settings import CommandRunner, QueueSettings
from notify.domain.head_ports import BuildRunner, Reporter, SourceControl, Stores
from notify.domain.heads import BuildStatus, Head, Request, RequestId
from notify.domain.measures import Count, no_count
from notify.heads.stage import Heads, HeadsStage, Queues
from notify.store.database import Database
from notify.store.tables.emails import work_items
from notify.work.stage import BatchStage
from tests.support.doorbell import RecordingDoorbell
from tests.support.head_peers import MemoryReporter, MemoryRunner
from tests.support.remotes import MemoryRemote, MemorySourceControl

MAIN, GREEN_REF = "refs/heads/main", "refs/heads/green"


def queue_settings(name: str = "monorepo/main", *, most: int = 1) -> QueueSettings:
    return QueueSettings(
        name=name,
        forge="github",
        repository="acme/monorepo",
        ref=MAIN,
        remote="memory",
        runner=CommandRunner(command=("true",)),
        promotion_ref=GREEN_REF,
        max_concurrent=most,
    )


@dataclass
class World:
    """Queues, their remotes, and one worker."""

    database: Database
    queues: Queues
    remotes: dict[str, MemoryRemote]
    runner: MemoryRunner
    reporter: MemoryReporter
    stage: HeadsStage
    doorbell: RecordingDoorbell = field(default_factory=RecordingDoorbell)

    @property
    def stores(self) -> Stores:
        return self.queues.stores

    def push(self, name: str = "monorepo/main", *, rewrite: bool = False) -> str:
        """A new head of the queue; its sha."""
        remote = self.remotes[name]
        present = None if rewrite else remote.ref(MAIN)
        remote.point(MAIN, remote.commit("change", *([present] if present else [])))
        return remote.refs[MAIN]

    def get(self, id_: RequestId) -> Request:
        return self.stores.requests.get(id_)

    def end(self, id_: RequestId, status: BuildStatus = BuildStatus.SUCCESS) -> None:
        """The runner ends the request's build."""
        self.runner.end(self.runner.started[id_], status)

    def drain(self) -> None:
        """Make everything due, and work until nothing is."""
        with self.database.begin() as connection:
            waiting = (work_items.c.stage == "heads") & (work_items.c.lane < Lane.LEASED)
            connection.execute(update(work_items).where(waiting).values(due_at=func.now()))
        self.stage.drain()

    def spend_budget(self) -> None:
        """Every request may fail once more."""
        with self.database.begin() as connection:
            connection.execute(update(work_items).values(failures=work_items.c.max_failures - 1))

    def kill_twice(self) -> None:
        """Every request has killed two workers, and a third has just died of it."""
        dead = {"lane": Lane.LEASED, "lapses": 2, "leased_by": UUID(int=1)}
        with self.database.begin() as connection:
            connection.execute(update(work_items).values(**dead, due_at=work_items.c.due_at - timedelta(hours=1)))

    def items(self) -> list[dict[str, object]]:
        with self.database.begin() as connection:
            found = connection.execute(
                select(work_items).where(work_items.c.stage == "heads").order_by(work_items.c.id)
            )
            return [dict(row) for row in found.mappings()]

    def sha_of(self, id_: RequestId) -> str:
        return Head.parse(self.get(id_).uri).sha


def world_of(
    database: Database,
    *settings: QueueSettings,
    checkpoint: Checkpoint = no_checkpoint,
    poll: float = 3600,
    instead: BuildRunner | None = None,
    reporter_of: Callable[[QueueSettings, MemoryRemote], Reporter] | None = None,
    count: Count = no_count,
    source_of: Callable[[QueueSettings, MemoryRemote], SourceControl] = MemorySourceControl,
) -> World:
    """
    Args:
        poll: Seconds between two looks at a ref.
        instead: A runner to be used instead of the one in memory.
        reporter_of: Makes the reporter of a queue; None: the one in memory.
    """
    remotes = {one.name: MemoryRemote() for one in settings}
    runner, reporter, doorbell = MemoryRunner(), MemoryReporter(), RecordingDoorbell()
    queues = Queues(
        {one.name: one for one in settings},
        stores=wiring.head_stores(database),
        source_of=lambda one: source_of(one, remotes[one.name]),
        runner_of=lambda _: instead or runner,
        reporter_of=lambda one: reporter_of(one, remotes[one.name]) if reporter_of else reporter,
    )
    stage = stage_of(database, queues, doorbell, checkpoint=checkpoint, poll=poll, count=count)
    return World(database, queues, remotes, runner, reporter, stage, doorbell)


def stage_of(
    database: Database,
    queues: Queues,
    doorbell: RecordingDoorbell,
    *,
    checkpoint: Checkpoint = no_checkpoint,
    poll: float = 3600,
    count: Count = no_count,
) -> HeadsStage:
    """Another worker of these queues."""
    lease = timedelta(minutes=1)
    handler = Heads(database, queues, doorbell=doorbell, lease=lease, rng=Random(1), checkpoint=checkpoint, count=count)
    batch = BatchStage(
        handler,
        database,
        ring=lambda: None,
        worker=uuid4(),
        lease=lease,
        batch=20,
        at_most=timedelta(seconds=30),
        rng=Random(2),
    )
    return HeadsStage(handler, batch, database, queues, poll=timedelta(seconds=poll))
