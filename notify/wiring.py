"""Builds all objects from the settings; the only module that knows every concrete class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from importlib.util import find_spec
from logging import getLogger
from os import environ
from random import SystemRandom
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID
from weakref import WeakKeyDictionary

from notify import tracing
from notify.brokers import Broker, broker
from notify.checkpoints import CRASH_AT, Checkpoint, crash_at
from notify.dns_names import is_full_name
from notify.domain.errors import InvalidSettings
from notify.domain.forge_settings import CommandRunner, GitHubActionsRunner, HttpRunner
from notify.domain.measures import Count, no_count
from notify.domain.ports import Doorbell, Promise, no_heartbeat
from notify.domain.rates import parse_rates
from notify.domain.stages import DELIVER, FAN_OUT, HEADS, INBOX, RECONCILE, STATUSES
from notify.doorbell import CeleryDoorbell, NoDoorbell
from notify.settings import Settings, load, load_or_exit
from notify.store.database import POOL_SIZE, Database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from celery import Celery

    from notify.channels.email.channel import EmailChannel
    from notify.channels.email.smtp.relay import Relay
    from notify.channels.email.writing.compose import Composer
    from notify.channels.email.writing.dkim import Signer
    from notify.channels.links import SignedLinks
    from notify.delivery.engine import Engine
    from notify.domain.forge_settings import ForgesFile, QueueSettings
    from notify.domain.head_ports import BuildRunner
    from notify.heads.stage import HeadsStage, Queues
    from notify.sources.reconciler import Reconciler
    from notify.statuses.apply import StatusStage
    from notify.vcs.git import GitSourceControl
    from notify.work.forges import Forges
    from notify.work.stage import BatchStage, Handler, Stage

# Functions import what they build, because an application that emits, an API and a worker each have only some of it
# installed.

FAN_OUT_BATCH = 200
# Twice as many as come forward at a time.
HEADS_BATCH = 16
# Stages of one process share a forge's connections and tokens.
_FORGES: WeakKeyDictionary[Database, Forges] = WeakKeyDictionary()
# A body may have 25 MiB.
INBOX_BATCH = 1
STATUS_BATCH = 100
ENGINE = "engine"
PULSE_SECONDS = 1
# Long enough to replace a dead process, even on a busy machine.
SILENT_ENGINE_SECONDS = 20
PREVIEW_KEY = "for links that do nothing"
NO_MAIL = "NOTIFY_SMTP_URL is not set: nothing is claimed"
NO_BROKER = "NOTIFY_BROKER_URL is not set; Celery's worker, beat and Flower need one: redis://… or amqp://…"
NO_DATABASE = "NOTIFY_DATABASE_URL is not set; expected postgresql://user:password@host:port/database"


def database(settings: Settings, *, pool_size: int = POOL_SIZE, prepared: Mapping[str, str] | None = None) -> Database:
    """
    The database. *prepared* are server settings for connections with prepared statements.

    Raises:
        InvalidSettings: No database is configured.
    """
    if settings.database_url is None:
        raise InvalidSettings(NO_DATABASE)
    return Database(settings.database_url.get_secret_value(), pool_size=pool_size, prepared=prepared)


def celery_app(settings: Settings | None = None) -> Celery:
    """
    The Celery application.

    Args:
        settings: None: the process's, read when the application is first used, not when it is created.
    """
    from celery import Celery

    app = Celery("notify", set_as_current=False)
    app.config_from_object(next(name for name in ("notify.celeryconfig", "celeryconfig") if find_spec(name)))
    app.add_defaults(lambda: _broker(settings).celery_settings)
    app.on_after_configure.connect(partial(_add_transport_options, settings), weak=False)
    return app


def doorbell(settings: Settings, *, count: Count = no_count, delay_seconds: float = 0.0) -> Doorbell:
    """The doorbell; without a broker it does nothing, and workers sweep."""
    if settings.broker_url is None:
        return NoDoorbell()
    return CeleryDoorbell(celery_app(settings), count=count, delay_seconds=delay_seconds)


@cache
def process_doorbell() -> Doorbell:
    """
    The doorbell of an application that emits events.

    Invalid settings only disable it: they must not fail the application, whose event is stored anyway.
    """
    try:
        return doorbell(load())
    except InvalidSettings as error:
        # The standard library's logger, because the application has its own logging.
        getLogger(__name__).warning("notify sends no doorbells, workers find events by sweeping: %s", error)
        return NoDoorbell()


def links(settings: Settings) -> SignedLinks | None:
    """Signs and reads the links in emails; None if no key or no public URL is configured."""
    if settings.secret_keys is None or settings.public_url is None:
        return None
    from notify.channels.links import SignedLinks

    return SignedLinks(secrets=settings.secret_keys.get_secret_value().split(), public_url=settings.public_url)


def message_host(settings: Settings) -> str:
    """Right-hand side of Message-IDs: the sender's domain, else the public host."""
    return _mail_domain(settings) or _public_host(settings) or "notify.invalid"


def ehlo_name(settings: Settings) -> str | None:
    """
    Our name in EHLO; None: no setting has a full host name.

    The machine's own name is not used: in a container it is an id, and relays refuse names that are not in DNS.
    """
    if settings.ehlo_name is not None:
        return settings.ehlo_name
    return next((name for name in (_public_host(settings), _mail_domain(settings)) if is_full_name(name)), None)


def _mail_domain(settings: Settings) -> str:
    return (settings.mail_from or "").rpartition("@")[2]


def _public_host(settings: Settings) -> str:
    return (urlsplit(settings.public_url or "").hostname or "").removesuffix(".")


def composer(settings: Settings) -> Composer:
    """
    Raises:
        InvalidSettings: Settings that emails need are missing.
    """
    from notify.channels.email.writing.compose import Composer

    signed = links(settings)
    if signed is None or settings.mail_from is None:
        raise InvalidSettings("NOTIFY_MAIL_FROM, NOTIFY_PUBLIC_URL and NOTIFY_SECRET_KEYS are needed to write emails")
    return Composer(
        mail_from=settings.mail_from,
        mail_from_name=settings.mail_from_name,
        links=signed,
        templates_dir=settings.templates_dir,
    )


def preview_composer(settings: Settings) -> Composer:
    """A composer for previews; its links do nothing, since no server knows their key."""
    from notify.channels.email.writing.compose import Composer
    from notify.channels.links import SignedLinks

    public_url = settings.public_url or f"http://127.0.0.1:{settings.api_port}"
    return Composer(
        mail_from=settings.mail_from or "notify@example.com",
        mail_from_name=settings.mail_from_name,
        links=SignedLinks(secrets=[PREVIEW_KEY], public_url=public_url),
        templates_dir=settings.templates_dir,
    )


def relays(settings: Settings) -> tuple[Relay, ...]:
    """
    The relays, by priority; empty if no mail is configured.

    Raises:
        InvalidSettings: A URL is invalid.
    """
    from notify.channels.email.smtp.relay import parse_relays

    if settings.smtp_url is None:
        return ()
    fallbacks = settings.smtp_fallback_urls
    found = parse_relays(settings.smtp_url.get_secret_value(), fallbacks.get_secret_value() if fallbacks else "")
    return tuple(replace(relay, ehlo_name=ehlo_name(settings)) for relay in found)


def channels(settings: Settings, *, count: Count = no_count) -> tuple[EmailChannel, ...]:
    """
    A channel for each relay, by priority; empty if no mail is configured, and then nothing may be claimed.

    Raises:
        InvalidSettings: Settings that emails need are missing or invalid.
    """
    from notify.channels.email.channel import EmailChannel

    configured = relays(settings)
    if not configured:
        return ()
    writing, signing, timeout = composer(settings), signer(settings), settings.smtp_timeout_seconds
    return tuple(
        EmailChannel(
            relay,
            writing,
            bounce_address=settings.bounce_address or settings.mail_from or "",
            sessions=relay.sessions or settings.smtp_sessions,
            timeout=None if timeout is None else timedelta(seconds=timeout),
            sign=signing,
            count=count,
        )
        for relay in configured
    )


def signer(settings: Settings) -> Signer | None:
    """
    Signs emails with DKIM; None if no key is configured.

    Raises:
        InvalidSettings: A key cannot be read or used.
    """
    if settings.dkim_selector is None or settings.dkim_key_file is None:
        return None
    # Imported here because cryptography takes 7 MB, and most deployments let the relay sign.
    from notify.channels.email.writing import dkim

    return dkim.signer(
        domain=settings.dkim_domain or _mail_domain(settings),
        selectors=settings.dkim_selector,
        key_files=settings.dkim_key_file,
    )


def checkpoint() -> Checkpoint:
    """Does nothing, unless a test has set the variable ``CRASH_AT``."""
    return crash_at(environ.get(CRASH_AT))


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


def forge_settings(settings: Settings) -> ForgesFile:
    """
    What NOTIFY_FORGES_FILE says; nothing without one.

    Raises:
        InvalidSettings: With every fault of the file.
    """
    from notify.domain.forge_settings import ForgesFile

    if settings.forges_file is None:
        return ForgesFile()
    from notify import forges_file

    return forges_file.load(settings.forges_file)


def forges(settings: Settings, database: Database) -> Forges:
    """Every configured forge: one set for all that uses this database. Opens no connection."""
    from notify.work.forges import Forge, Forges

    if database not in _FORGES:
        file = forge_settings(settings)
        made = {}
        if file.forges:
            from notify.forges import connect

            for name, one in file.forges.items():
                connected = connect.connected(one)
                made[name] = Forge(
                    one,
                    parser=connect.parser(one),
                    reader=connected.reader,
                    writer=connected.writer,
                    rivals=file.rivals(name),
                )
        _FORGES[database] = Forges(database, made)
    return _FORGES[database]


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
        queues=forge_settings(settings).queues.values(),
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


def queues(settings: Settings, database: Database, *, doorbell: Doorbell) -> Queues:
    """Every configured queue, with what reads its history, builds its heads, and tells of them. Opens no connection."""
    from notify.domain.head_ports import Stores
    from notify.heads.reporter import CommitAndMail
    from notify.heads.stage import Queues
    from notify.store.heads.builds import Builds, Facts
    from notify.store.heads.queues import Queues as QueueRows
    from notify.store.heads.requests import Counters, Requests, RequestUris
    from notify.vcs.git import GitSourceControl

    configured = forge_settings(settings)
    folder = settings.data_dir.absolute() / HEADS
    sources = {one.name: GitSourceControl(one, folder / "mirrors") for one in configured.queues.values()}
    runners = {one.name: _runner(one, configured, sources[one.name], folder) for one in configured.queues.values()}
    return Queues(
        configured.queues,
        stores=Stores(
            requests=Requests(database),
            uris=RequestUris(database),
            queues=QueueRows(database),
            builds=Builds(database),
            facts=Facts(database),
            counters=Counters(database),
        ),
        source_of=lambda queue: sources[queue.name],
        runner_of=lambda queue: runners[queue.name],
        reporter_of=lambda queue: CommitAndMail(database, queue, sources[queue.name], doorbell),
    )


def _runner(queue: QueueSettings, configured: ForgesFile, source: GitSourceControl, folder: Path) -> BuildRunner:
    match queue.runner:
        case HttpRunner():
            from notify.heads.runners.http import HttpBuildRunner

            return HttpBuildRunner(queue.runner)
        case GitHubActionsRunner():
            from notify.forges import connect
            from notify.heads.runners.github_actions import GitHubActionsBuildRunner

            workflows = connect.workflows(configured.forges[queue.forge])
            return GitHubActionsBuildRunner(queue.runner, workflows, repository=queue.repository)
        case CommandRunner():
            from notify.heads.runners.command import CommandBuildRunner

            return CommandBuildRunner(queue.runner, source.repository_with, folder / "builds")


def heads(
    settings: Settings,
    database: Database,
    *,
    doorbell: Doorbell,
    worker: UUID,
    count: Count = no_count,  # noqa: ARG001 - the tables say how many
    promise: Promise = no_heartbeat,  # noqa: ARG001 - its leases are renewed
) -> HeadsStage:
    """The queues' heads in one worker process."""
    from notify.heads.stage import Heads, HeadsStage

    known = queues(settings, database, doorbell=doorbell)
    handler = Heads(
        database, known, doorbell=doorbell, lease=settings.lease, rng=SystemRandom(), checkpoint=checkpoint()
    )
    batch = _batch_stage(settings, database, handler, doorbell=doorbell, worker=worker, batch=HEADS_BATCH)
    return HeadsStage(handler, batch, database, known, poll=timedelta(seconds=settings.poll_seconds))


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
)
STAGE_NAMES = tuple(kind.name for kind in STAGES)
# The sweeper has a thread for each stage, and the engine an event loop.
HEARTBEATS = (*STAGE_NAMES, ENGINE)


def _broker(settings: Settings | None) -> Broker:
    """Refuse to run without a broker; Celery would fall back to a RabbitMQ on this machine."""
    stated = (settings or load_or_exit()).broker_url
    if stated is None:
        # In a process started by Celery's own commands, which would print a traceback.
        raise SystemExit(f"notify: {NO_BROKER}") if settings is None else InvalidSettings(NO_BROKER)
    return broker(stated.get_secret_value())


def _add_transport_options(settings: Settings | None, sender: Celery, **_: object) -> None:
    """Add the options in the broker's URL to those in ``celeryconfig``."""
    if options := _broker(settings).options:
        sender.conf.broker_transport_options = {**sender.conf.broker_transport_options, **options}
