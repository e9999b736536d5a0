"""The database, the broker and the doorbell, from the settings."""

from __future__ import annotations

from functools import cache, partial
from importlib.util import find_spec
from logging import getLogger
from os import environ
from typing import TYPE_CHECKING

from notify.brokers import Broker, broker
from notify.checkpoints import CRASH_AT, Checkpoint, crash_at
from notify.domain.errors import InvalidSettings
from notify.domain.measures import Count, no_count
from notify.domain.ports import Doorbell
from notify.doorbell import CeleryDoorbell, NoDoorbell
from notify.settings import Settings, load, load_or_exit
from notify.store.database import POOL_SIZE, Database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Celery


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
    """The doorbell of this process, which is an application that emits events."""
    return application_doorbell(environ)


def application_doorbell(environment: Mapping[str, str]) -> Doorbell:
    """
    The doorbell of an application that emits events, from these variables.

    Invalid settings only disable it: they must not fail the application, whose event is stored anyway.
    """
    try:
        return doorbell(load(environment=environment))
    except InvalidSettings as error:
        # The standard library's logger, because the application has its own logging.
        getLogger(__name__).warning("notify sends no doorbells, workers find events by sweeping: %s", error)
        return NoDoorbell()


def checkpoint() -> Checkpoint:
    """Does nothing, unless a test has set the variable ``CRASH_AT``."""
    return crash_at(environ.get(CRASH_AT))


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
