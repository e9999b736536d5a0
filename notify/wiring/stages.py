"""The stages of a worker process, and the list that queues, tasks, gauges and doctor follow from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING
from uuid import UUID

from notify import tracing
from notify.domain.measures import Count, no_count
from notify.domain.ports import Doorbell, Promise, no_heartbeat
from notify.domain.rates import parse_rates
from notify.domain.stages import DELIVER, FAN_OUT, HEADS, INBOX, RECONCILE, STATUSES, WEBHOOKS
from notify.settings import Settings
from notify.store.database import Database
from notify.wiring.connections import checkpoint
from notify.wiring.forges_and_queues import forge_settings, forges, queues
from notify.wiring.mail import channels, message_host

if TYPE_CHECKING:
    from notify.delivery.engine import Engine
    from notify.heads.stage import HeadsStage
    from notify.sources.reconciler import Reconciler
    from notify.statuses.apply import StatusStage
    from notify.webhooks.stage import WebhookStage
    from notify.work.stage import BatchStage, Handler, Stage


FAN_OUT_BATCH = 200
# Twice as many as come forward at a time.
HEADS_BATCH = 16
# A body may have 25 MiB.
INBOX_BATCH = 1
STATUS_BATCH = 100
WEBHOOK_BATCH = 100
ENGINE = "engine"
PULSE_SECONDS = 1
# Long enough to replace a dead process, even on a busy machine.
SILENT_ENGINE_SECONDS = 20


def fan_out(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its batches are short
) -> BatchStage:
    """The fan-out of one worker process."""
    from notify.intake.fan_out import FanOut

    handler = FanOut(
        database,
        doorbell=doorbell,
        message_host=message_host(settings),
        rng=SystemRandom(),
        operators=settings.operator_names,
        bundle=timedelta(seconds=settings.bundle_seconds),
        checkpoint=checkpoint(),
        count=count,
        spans=tracing.spans(),
    )
    return _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=FAN_OUT_BATCH)


def _batch_stage(
    settings: Settings,
    database: Database,
    handler: Handler,
    *,
    doorbell: Doorbell,
    worker: UUID,
    batch: int,
) -> BatchStage:
    from notify.work.stage import BatchStage

    return BatchStage(
        handler,
        database,
        ring=partial(doorbell.ring, handler.name),
        worker=worker,
        lease=settings.lease,
        batch=batch,
        at_most=timedelta(seconds=settings.drain_seconds),
        rng=SystemRandom(),
        checkpoint=checkpoint(),
    )


def engine(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,
    promise: Promise = no_heartbeat,
) -> Engine:
    """The delivery engine of one worker process; its event loop has its own heartbeat."""
    from notify import logs
    from notify.delivery.engine import Engine
    from notify.delivery.journal import Journal
    from notify.work.sweeper import LONGEST_WORK_SECONDS

    made = Engine(
        database,
        channels=channels(settings, count=count),
        doorbell=doorbell,
        worker=worker,
        lease=settings.lease,
        at_most=timedelta(seconds=settings.drain_seconds),
        claim_size=settings.claim_size,
        record_rows=settings.record_rows,
        rng=SystemRandom(),
        checkpoint=checkpoint(),
        count=count,
        domains=parse_rates(settings.domain_rates or ""),
        journal=Journal(logs.about_emails(level=settings.log_level, style=settings.log_format), spans=tracing.spans()),
        moved=partial(promise, DELIVER, LONGEST_WORK_SECONDS),
    )
    if promise is not no_heartbeat:
        made.every(PULSE_SECONDS, partial(promise, ENGINE, SILENT_ENGINE_SECONDS))
    return made


def inbox(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,  # noqa: ARG001 - the tables say how many
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its batches end before their lease
) -> BatchStage:
    """The inbox of one worker process."""
    from notify.sources.inbox import Inbox

    handler = Inbox(
        database,
        forges(settings, database),
        doorbell=doorbell,
        rng=SystemRandom(),
        queues=forge_settings(settings, database).queues.values(),
        checkpoint=checkpoint(),
    )
    return _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=INBOX_BATCH)


def reconciler(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,  # noqa: ARG001 - the tables say how many
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its lease is renewed
) -> Reconciler:
    """The reconciler of one worker process."""
    from notify.sources.failing import FailureWatch
    from notify.sources.reconciler import Reconciler, Sweeps

    every = timedelta(seconds=settings.reconcile_seconds)
    known = forges(settings, database)
    sweeps = Sweeps(
        database,
        known,
        doorbell=doorbell,
        every=every,
        lease=settings.lease,
        rng=SystemRandom(),
        checkpoint=checkpoint(),
    )
    batch = _batch_stage(settings, database, sweeps, doorbell=doorbell, worker=worker, batch=1)
    watch = FailureWatch(database, list(known.by_name), every=every, doorbell=doorbell)
    return Reconciler(sweeps, batch, database, known, watch=watch, every=every)


def statuses(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,  # noqa: ARG001 - the tables say how many
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its leases are renewed
) -> StatusStage:
    """The stage that shows statuses, of one worker process."""
    from notify.statuses.apply import Statuses, StatusStage

    known = forges(settings, database)
    handler = Statuses(
        database, known, doorbell=doorbell, lease=settings.lease, rng=SystemRandom(), checkpoint=checkpoint()
    )
    batch = _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=STATUS_BATCH)
    return StatusStage(handler, batch, database, known)


def heads(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its leases are renewed
) -> HeadsStage:
    """The queues' heads in one worker process."""
    from notify.heads.stage import Heads, HeadsStage

    known = queues(settings, database, doorbell=doorbell)
    poll, crash = timedelta(seconds=settings.poll_seconds), checkpoint()
    handler = Heads(
        database,
        known,
        doorbell=doorbell,
        lease=settings.lease,
        rng=SystemRandom(),
        checkpoint=crash,
        count=count,
    )
    batch = _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=HEADS_BATCH)
    return HeadsStage(handler, batch, database, known, poll=poll, checkpoint=crash)


def webhooks(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,  # noqa: ARG001 - the tables say how many
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its batches are short
) -> WebhookStage:
    """The stage that calls webhook endpoints, of one worker process."""
    from notify.webhooks.stage import Webhooks, WebhookStage

    handler = Webhooks(
        database,
        keys=settings.signing_keys,
        networks=settings.private_networks,
        lease=settings.lease,
        rng=SystemRandom(),
        checkpoint=checkpoint(),
    )
    batch = _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=WEBHOOK_BATCH)
    return WebhookStage(handler, batch)


@dataclass(frozen=True, slots=True)
class StageKind:
    """
    A kind of stage, which each worker process creates.

    ``waiting`` describes its backlog, in the plural. ``make`` has the signature of ``fan_out`` and ``engine``.
    """

    name: str
    waiting: str
    make: Callable[..., Stage]


# Celery's queues and tasks, sweepers, gauges, liveness, top and doctor follow from this list.
STAGES = (
    StageKind(FAN_OUT, "events wait to be fanned out", fan_out),
    StageKind(DELIVER, "emails wait to be sent", engine),
    StageKind(INBOX, "webhook deliveries wait to be processed", inbox),
    StageKind(RECONCILE, "repositories wait to be read", reconciler),
    StageKind(STATUSES, "statuses wait to be shown", statuses),
    StageKind(HEADS, "heads wait to be validated", heads),
    StageKind(WEBHOOKS, "webhook calls wait to be made", webhooks),
)
STAGE_NAMES = tuple(kind.name for kind in STAGES)
# The sweeper has a thread for each stage, and the engine an event loop.
HEARTBEATS = (*STAGE_NAMES, ENGINE)
