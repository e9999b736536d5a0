"""What lives in a worker process besides Celery: engine, fan-out, sweeper; made after the fork."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from mmap import mmap
from random import SystemRandom
from threading import Thread
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import structlog
from billiard import pool as prefork
from billiard.process import current_process
from celery.signals import (
    celeryd_after_setup,
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)

from notify import logs, wiring
from notify.delivery.retention import Pruned, Pruning
from notify.domain.errors import InvalidSettings
from notify.domain.measures import Role
from notify.domain.ports import Doorbell, Promise, unwatched
from notify.domain.stages import FAN_OUT, queue
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.settings import Settings, load, load_or_exit
from notify.store.operations import gauges, process_totals, stats
from notify.store.sessions import PLANNED_ONCE
from notify.tally import Tally
from notify.wiring import StageKind
from notify.work.sweeper import Sweeper
from notify.worker.livez import STOPPING, Heartbeats, Liveness, Livez, liveness

LOOK_FOR_SHUTDOWN_SECONDS = 0.2
GOODBYE_SECONDS = 10
UNREAD_RESULT_TENTHS = 20
FIRST_HEARTBEAT_SECONDS = 60
# What a process makes for itself it has sent by then, if it is little; others who looked too would be in its way.
HEAD_START_SECONDS = 0.05
# Shorter than Celery's time limit for a task; the next run goes on.
LONGEST_PRUNE = timedelta(minutes=10)

# An email leaves nothing behind that only a collection could free; by Python's own 700 one runs every few emails.
COLLECT_AFTER = (20_000, 20, 50)
# Else each child would import them for itself, with memory of its own.
NEEDED_AFTER_THE_FORK = (
    "notify.delivery.engine",
    "notify.delivery.journal",
    "notify.intake.fan_out",
    "notify.work.stage",
    *(("uvloop",) if find_spec("uvloop") else ()),
    "jinja2.ext",
    "encodings.unicode_escape",
    "cffi.cparser",  # cmarkgfm's
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OwnBell:
    """Rings for idle workers, and wakes this process besides: what it made for itself waits for no broker."""

    others: Doorbell
    wake: Callable[[str], None]

    def ring(self, stage: str) -> None:
        self.wake(stage)
        self.others.ring(stage)

    def flush(self, *, at_most_seconds: float) -> None:
        self.others.flush(at_most_seconds=at_most_seconds)


class Runtime:
    """
    The working parts of one worker process.

    Args:
        kinds: What is worked off here.
        serves: The stages whose queues this worker consumes; its sweeper looks after those only.
        promise: Takes the heartbeats of this process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serves: frozenset[str],
        promise: Promise = unwatched,
        kinds: Sequence[StageKind] = wiring.STAGES,
    ) -> None:
        self.worker = uuid4()
        self._kept = settings.kept
        self._pruning: Pruning | None = None
        self._stopped = False
        self._leaves_at = 0.0
        self._database = wiring.database(settings, prepared=PLANNED_ONCE)
        self._tally = Tally(self._database, process=self.worker, role=Role.WORKER)
        self._doorbell = wiring.doorbell(settings, count=self._tally.count, delay_seconds=HEAD_START_SECONDS)
        self._stages = {
            kind.name: kind.make(
                settings,
                self._database,
                doorbell=OwnBell(self._doorbell, wake=self._wake),
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
        """Give back what is not begun, finish what is on its way, but not for ever. Repeated, it ends no later."""
        if not self._stopped:
            self._leaves_at, self._stopped = monotonic() + GOODBYE_SECONDS, True
        if self._pruning is not None:
            self._pruning.stop()
        for stage in self._stages.values():
            stage.stop(at_most_seconds=max(0.0, self._leaves_at - monotonic()))
        self._sweeper.stop(timeout_seconds=max(1.0, self._leaves_at - monotonic()))
        self._tally.stop()
        self._database.close()

    def _wake(self, stage: str) -> None:
        self._sweeper.wake(stage)

    def drain(self, stage: str) -> dict[str, Any]:
        return dict(self._stages[stage].drain())

    def receive(self, items: Sequence[object]) -> dict[str, Any]:
        """Store events, all or none. What has the key of another event is counted, said in the log, and not stored."""
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
        """Delete what is finished and old, in small batches, until nothing is left or it is time to leave off."""
        self._pruning = Pruning(self._database, self._kept, at_most=LONGEST_PRUNE)
        if self._stopped:
            self._pruning.stop()
        return self._pruning.run()

    def standing(self) -> dict[str, Any]:
        """How each stage of the outbox stands; meanwhile the counts of what is past are added up."""
        with self._database.begin() as connection:
            stats.fold(connection)
            process_totals.fold(connection)
            return {stage: asdict(one) for stage, one in gauges.read(connection, tuple(self._stages)).items()}


class _Served:
    """The stages of this worker, and its health address if it has one, noted before the fork."""

    stages: frozenset[str] = frozenset(wiring.STAGE_NAMES)
    livez: Livez | None = None
    heartbeats: Heartbeats | None = None


# One byte that parent and children share: the parent sets it when it is told to stop, so that the
# children give back what they have not begun instead of draining on. No lock: a child may be killed.
_closing = mmap(-1, 1)


@cache
def runtime() -> Runtime:
    # A process that ends leaves its index to the next.
    index = getattr(current_process(), "index", 0)
    promise = unwatched if _Served.heartbeats is None else _Served.heartbeats.of(index)
    made = Runtime(load(), serves=_Served.stages, promise=promise)
    log.info("worker.ready", worker=str(made.worker), serves=sorted(_Served.stages))
    return made


def connect() -> None:
    """Hook into Celery's life: before the fork, after it, and at the end."""
    setup_logging.connect(_configure_logs)
    celeryd_after_setup.connect(_note_queues)
    celeryd_after_setup.connect(_guard_remote_control)
    celeryd_after_setup.connect(_answer_for_health)
    celeryd_after_setup.connect(_share_what_is_imported)
    worker_process_init.connect(_begin)
    worker_shutting_down.connect(_tell_children)
    worker_process_shutdown.connect(_end)


def _configure_logs(**_: object) -> None:
    settings = load_or_exit()
    logs.configure(level=settings.log_level, style=settings.log_format)


def _note_queues(instance: Any, **_: object) -> None:  # noqa: ANN401 - Celery's worker is not typed
    _refuse_incomplete(load())
    queues: Mapping[str, object] = instance.app.amqp.queues.consume_from
    _Served.stages = frozenset(stage for stage in wiring.STAGE_NAMES if queue(stage) in queues)


def _guard_remote_control(**_: object) -> None:
    if not load().worker_remote_control:
        # Here and not above: beat and Flower have no worker that could be commanded.
        from notify.worker import control  # noqa: PLC0415

        control.only_look()


def _answer_for_health(instance: Any, **_: object) -> None:  # noqa: ANN401 - the same
    settings = load()
    port = settings.worker_health_port
    if port is None:
        return
    least: int = instance.min_concurrency
    processes = instance.max_concurrency or least
    _Served.heartbeats = heartbeats = Heartbeats(wiring.HEARTBEATS, processes=processes)
    for place in range(least):
        heartbeats.of(place)(wiring.ENGINE, FIRST_HEARTBEAT_SECONDS)
    try:
        ask = partial(_liveness, heartbeats, processes=least)
        _Served.livez = Livez(port, ask=ask, host=settings.worker_health_host)
    except OSError as error:
        raise SystemExit(f"NOTIFY_WORKER_HEALTH_PORT is {port}: {error.strerror}") from None
    _Served.livez.start()


def _liveness(heartbeats: Heartbeats, *, processes: int) -> Liveness:
    return STOPPING if _closing[0] else liveness(heartbeats.promised(), now=monotonic(), processes=processes)


def _share_what_is_imported(**_: object) -> None:
    """
    Import now what the children need, and let no collection touch it later: a page that is touched is copied. Those
    that come are few.

    Source: the documentation of ``gc.freeze``.
    """
    for module in NEEDED_AFTER_THE_FORK:
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _refuse_incomplete(settings: Settings) -> None:
    """Stop at start, in the parent: a child that cannot start would be started again for ever."""
    try:
        wiring.database(settings).close()
        wiring.channels(settings)
        wiring.checkpoint()
    except InvalidSettings as error:
        raise SystemExit(str(error)) from None
    if settings.smtp_url is None:
        log.warning("mail.not_configured", effect=wiring.NO_MAIL)
    else:
        wiring.composer(settings).compile_templates()


def _begin(**_: object) -> None:
    # A parent that was told to stop twice reads no more results, and its child would wait 30 s for that.
    prefork.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = UNREAD_RESULT_TENTHS
    if _Served.livez is not None:
        _Served.livez.let_go()
    runtime().start()
    Thread(target=_watch_for_shutdown, name="shutdown-watch", daemon=True).start()


def _tell_children(**_: object) -> None:
    _closing[0] = 1


def _watch_for_shutdown() -> None:
    while not _closing[0]:
        sleep(LOOK_FOR_SHUTDOWN_SECONDS)
    runtime().stop()


def _end(**_: object) -> None:
    if runtime.cache_info().currsize:
        runtime().stop()
