"""Connects a command to the configured database, or to the embedded stack in the data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.ports import Doorbell
from notify.settings import Settings, load, refuse_incomplete
from notify.store.database import Database

FLUSH_SECONDS = 2.0


class NoDatabase(NotifyError):
    """NOTIFY_DATABASE_URL is not set, and no embedded stack is installed: pip install 'notify-outbox[embedded]'."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    Complete settings, and the database and doorbell that they name.

    ``stack_is_down``: the database is the embedded one, started for this command alone; nothing else of the stack runs.
    """

    settings: Settings
    database: Database
    doorbell: Doorbell
    stack_is_down: bool = False


@contextmanager
def complete_settings() -> Iterator[Settings]:
    """The settings; with no database configured, those of the embedded stack, of which only the database is started."""
    settings = load(completed_later=True)
    if settings.database_url is not None:
        refuse_incomplete(settings)
        yield settings
        return
    if of_stack := _of_running_stack(settings):
        yield of_stack
        return
    try:
        from notify.embedded.stack import stack_settings
    except ModuleNotFoundError as error:
        raise NoDatabase(missing=error.name) from None
    with stack_settings(settings) as complete:
        yield complete


def known_settings() -> Settings:
    """What is known of the settings without a database: those of the embedded stack where one is up."""
    settings = load(completed_later=True)
    if settings.database_url is not None:
        return settings
    return _of_running_stack(settings) or settings


def _of_running_stack(settings: Settings) -> Settings | None:
    """Those of the embedded stack, if one is up; without importing what one is made of, which takes half a second."""
    try:
        from notify.embedded.completion import for_running_stack, replaced
        from notify.embedded.data_folder import running
    except ModuleNotFoundError:
        return None
    data_dir = settings.data_dir.resolve()
    stack = running(data_dir)
    return for_running_stack(replaced(settings, data_dir=data_dir), stack.settings) if stack and stack.ready else None


@contextmanager
def connect() -> Iterator[Deployment]:
    """The deployment that this command works on; at the end, doorbells still in memory are sent."""
    is_embedded = load(completed_later=True).database_url is None
    with complete_settings() as settings:
        deployment = Deployment(
            settings,
            wiring.database(settings, pool_size=1),
            wiring.doorbell(settings),
            stack_is_down=is_embedded and not _is_up(settings),
        )
        try:
            yield deployment
        finally:
            deployment.doorbell.flush(at_most_seconds=FLUSH_SECONDS)
            deployment.database.close()


def _is_up(settings: Settings) -> bool:
    """Whether an embedded stack runs on the data folder."""
    from notify.embedded.data_folder import running

    return running(settings.data_dir) is not None
