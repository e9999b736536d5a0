"""What one worker process has besides Celery: stages, sweeper and counts. Created after the fork."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from random import SystemRandom
from time import monotonic
from typing import Any
from uuid import uuid4

import structlog

from notify import wiring
from notify.delivery.retention import Pruned, Pruning
from notify.domain.forge_answers import ForgeFault
from notify.domain.measures import Role
from notify.domain.ports import Doorbell, Promise, no_heartbeat
from notify.domain.stages import FAN_OUT
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.settings import Settings
from notify.sources.redelivery import redeliver
from notify.store.operations import gauges, process_totals, stats
from notify.store.sessions import PLANNED_ONCE
from notify.tally import Tally
from notify.wiring import StageKind
from notify.work.forges import ForgeNotAsked
from notify.work.sweeper import Sweeper

STOP_SECONDS = 10
# A process finishes a little work that it created itself before others are woken and compete for it.
HEAD_START_SECONDS = 0.05
# Shorter than Celery's time limit for a task; the next run continues.
MAX_PRUNE_TIME = timedelta(minutes=10)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LocalDoorbell:
    """Rings for idle workers and wakes this process directly, so that its own work does not wait for the broker."""

    others: Doorbell
    wake: Callable[[str], None]

    def ring(self, stage: str) -> None:
        self.wake(stage)
        self.others.ring(stage)

    def flush(self, *, at_most_seconds: float) -> None:
        self.others.flush(at_most_seconds=at_most_seconds)


class Runtime:
    """
    The stages of one worker process, its sweeper and its counts.

    Args:
        serves: The stages whose queues this worker consumes and sweeps.
        promise: Promises this process's heartbeats.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serves: frozenset[str],
        promise: Promise = no_heartbeat,
        kinds: Sequence[StageKind] = wiring.STAGES,
    ) -> None:
        self.worker = uuid4()
        self._settings = settings
        self._retention = settings.retention
        self._pruning: Pruning | None = None
        self._stopped = False
        self._stop_at = 0.0
        self._database = wiring.database(settings, prepared=PLANNED_ONCE)
        self._tally = Tally(self._database, process=self.worker, role=Role.WORKER)
        serves_all = serves.issuperset(kind.name for kind in kinds)
        self._doorbell = LocalDoorbell(
            wiring.doorbell(settings, count=self._tally.count, delay_seconds=HEAD_START_SECONDS if serves_all else 0.0),
            wake=lambda name: self._sweeper.wake(name),  # noqa: PLW0108 - created below
        )
        self._stages = {
            kind.name: kind.make(
                settings,
                self._database,
                doorbell=self._doorbell,
                worker=self.worker,
                count=self._tally.count,
                promise=promise,
            )
            for kind in kinds
        }
        self._sweeper = Sweeper(
            [stage for stage in self._stages.values() if stage.name in serves],
            seconds=settings.sweep_seconds,
            rng=SystemRandom(),
            count=self._tally.count,
            promise=promise,
        )

    def start(self) -> None:
        self._sweeper.start()
        self._tally.start()

    def stop(self) -> None:
        """Release what is not started and finish what is in progress, within 10 s of the first call."""
        if not self._stopped:
            self._stop_at, self._stopped = monotonic() + STOP_SECONDS, True
        if self._pruning is not None:
            self._pruning.stop()
        for stage in self._stages.values():
            stage.stop(at_most_seconds=max(0.0, self._stop_at - monotonic()))
        self._sweeper.stop(timeout_seconds=max(1.0, self._stop_at - monotonic()))
        self._tally.stop()
        wiring.close_forges(self._database)
        self._database.close()

    def drain(self, stage: str) -> dict[str, Any]:
        return dict(self._stages[stage].drain())

    def receive(self, items: Sequence[object]) -> dict[str, Any]:
        """Store all events or none. An event whose key belongs to a different event is logged and not stored."""
        events = [parse(item, index=index) for index, item in enumerate(items)]
        with self._database.begin() as connection:
            receipts = receive(connection, events)
        self._doorbell.ring(FAN_OUT)
        differing = [one for one in receipts if one.differs]
        for one in differing:
            log.warning("receive.differs", event_id=one.id, fields=one.differs)
        duplicates = sum(one.duplicate for one in receipts)
        return {"accepted": len(receipts) - duplicates, "duplicates": duplicates, "differing": len(differing)}

    def prune(self) -> Pruned:
        """Delete old finished rows, in small batches, until none is left or the process stops."""
        self._pruning = Pruning(self._database, self._retention, at_most=MAX_PRUNE_TIME)
        if self._stopped:
            self._pruning.stop()
        return self._pruning.run()

    def redeliver(self) -> dict[str, int | str]:
        """Ask the forges to repeat deliveries that did not arrive; how many, or why it failed, by forge."""
        forges = wiring.forges(self._settings, self._database)
        asked: dict[str, int | str] = {}
        for name, forge in forges.by_name.items():
            try:
                asked[name] = redeliver(forges, forge)
            except (ForgeNotAsked, ForgeFault) as fault:
                asked[name] = str(fault)
        return asked

    def gauges(self) -> dict[str, Any]:
        """The backlog of each stage. Also folds old counts."""
        with self._database.begin() as connection:
            stats.fold(connection)
            process_totals.fold(connection)
            return {stage: asdict(one) for stage, one in gauges.read(connection, tuple(self._stages)).items()}
