"""Connects the worker to Celery's signals: before the fork, after it, and at shutdown."""

import gc
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from mmap import mmap
from threading import Thread
from time import monotonic, sleep
from typing import Any

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
from notify.domain.errors import InvalidSettings
from notify.domain.ports import no_heartbeat
from notify.domain.stages import queue
from notify.settings import Settings, load, load_or_exit
from notify.worker.livez import STOPPING, Heartbeats, Liveness, Livez, liveness
from notify.worker.runtime import Runtime

SHUTDOWN_POLL_SECONDS = 0.2
UNREAD_RESULT_TENTHS = 20
FIRST_HEARTBEAT_SECONDS = 60

# Emails create no garbage cycles, yet with Python's default of 700 a collection would run every few emails.
COLLECT_AFTER = (20_000, 20, 50)
# Imported before the fork, so that the children share the memory.
IMPORT_BEFORE_FORK = (
    "notify.delivery.engine",
    "notify.delivery.journal",
    "notify.intake.fan_out",
    "notify.heads.reporter",
    "notify.heads.stage",
    "notify.store.heads.builds",
    "notify.store.heads.queues",
    "notify.vcs.git",
    "notify.sources.inbox",
    "notify.sources.reconciler",
    "notify.statuses.apply",
    "notify.webhooks.stage",
    "notify.work.stage",
    *(("uvloop",) if find_spec("uvloop") else ()),
    "jinja2.ext",
    "encodings.unicode_escape",
    "cffi.cparser",  # cmarkgfm's
)

log = structlog.get_logger(__name__)


class _Worker:
    """The stages that this worker serves and its health server, if any; set before the fork."""

    stages: frozenset[str] = frozenset(wiring.STAGE_NAMES)
    livez: Livez | None = None
    heartbeats: Heartbeats | None = None


# One byte shared by parent and children: the parent sets it on shutdown, so that the children release what they have
# not started. No lock: a child that has it may be killed.
_closing = mmap(-1, 1)


@cache
def runtime() -> Runtime:
    # A replacement process has the index of the one it replaces.
    index = getattr(current_process(), "index", 0)
    promise = no_heartbeat if _Worker.heartbeats is None else _Worker.heartbeats.of(index)
    made = Runtime(load(), serves=_Worker.stages, promise=promise)
    log.info("worker.ready", worker=str(made.worker), serves=sorted(_Worker.stages))
    return made


def connect() -> None:
    setup_logging.connect(_configure_logs)
    celeryd_after_setup.connect(_note_queues)
    celeryd_after_setup.connect(_guard_remote_control)
    celeryd_after_setup.connect(_start_health_server)
    celeryd_after_setup.connect(_import_before_fork)
    worker_process_init.connect(_begin)
    worker_shutting_down.connect(_signal_children)
    worker_process_shutdown.connect(_end)


def _configure_logs(**_: object) -> None:
    settings = load_or_exit()
    logs.configure(level=settings.log_level, style=settings.log_format)


def _note_queues(instance: Any, **_: object) -> None:  # noqa: ANN401 - Celery's worker is not typed
    _refuse_incomplete(load())
    queues: Mapping[str, object] = instance.app.amqp.queues.consume_from
    _Worker.stages = frozenset(stage for stage in wiring.STAGE_NAMES if queue(stage) in queues)


def _guard_remote_control(**_: object) -> None:
    if not load().worker_remote_control:
        # Here and not above: beat and Flower have no worker to command.
        from notify.worker import control  # noqa: PLC0415

        control.refuse_changes()


def _start_health_server(instance: Any, **_: object) -> None:  # noqa: ANN401 - the same
    settings = load()
    port = settings.worker_health_port
    if port is None:
        return
    least: int = instance.min_concurrency
    processes = instance.max_concurrency or least
    _Worker.heartbeats = heartbeats = Heartbeats(wiring.HEARTBEATS, processes=processes)
    for process in range(least):
        heartbeats.of(process)(wiring.ENGINE, FIRST_HEARTBEAT_SECONDS)
    try:
        ask = partial(_liveness, heartbeats, processes=least)
        _Worker.livez = Livez(port, ask=ask, host=settings.worker_health_host)
    except OSError as error:
        raise SystemExit(f"NOTIFY_WORKER_HEALTH_PORT is {port}: {error.strerror}") from None
    _Worker.livez.start()


def _liveness(heartbeats: Heartbeats, *, processes: int) -> Liveness:
    return STOPPING if _closing[0] else liveness(heartbeats.promised(), now=monotonic(), processes=processes)


def _import_before_fork(**_: object) -> None:
    """
    Import what the children need and freeze it: a page that the garbage collector touches is copied.

    Source: the documentation of ``gc.freeze``.
    """
    for module in IMPORT_BEFORE_FORK:
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _refuse_incomplete(settings: Settings) -> None:
    """Exit now, in the parent: a child that cannot start would be restarted forever."""
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
    # A parent that is stopped twice reads no more results, and its child would wait 30 s for it to do so.
    prefork.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = UNREAD_RESULT_TENTHS
    if _Worker.livez is not None:
        _Worker.livez.close_in_child()
    runtime().start()
    Thread(target=_watch_for_shutdown, name="shutdown-watch", daemon=True).start()


def _signal_children(**_: object) -> None:
    _closing[0] = 1


def _watch_for_shutdown() -> None:
    while not _closing[0]:
        sleep(SHUTDOWN_POLL_SECONDS)
    runtime().stop()


def _end(**_: object) -> None:
    if runtime.cache_info().currsize:
        runtime().stop()
