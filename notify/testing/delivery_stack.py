"""The embedded stack of a test session: a database, a broker, a worker and a catcher."""

from collections.abc import Iterator
from contextlib import ExitStack, chdir, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from rich.console import Console
from sqlalchemy import Engine, create_engine, delete, func, select

from notify import wiring
from notify.domain.claims import Lane
from notify.domain.errors import NotifyError
from notify.domain.ports import Doorbell
from notify.domain.stages import DELIVER, FAN_OUT
from notify.embedded.commands import COMMANDS
from notify.embedded.completion import PORTS
from notify.embedded.mailbox import SUFFIX, Email, read
from notify.embedded.ports import free_port
from notify.embedded.stack import EMAILS, Stack
from notify.settings import Settings
from notify.store.database import Database
from notify.store.tables import emails, people
from notify.store.urls import with_our_driver

POLL_SECONDS = 0.02
QUIET_SECONDS = 30
# What refers to a row before that row.
EMPTIED = (
    *(emails.email_attempts, emails.bundles, emails.notifications, emails.email_jobs, emails.events),
    *(people.user_notification_preferences, people.user_notification_settings, people.topic_preferences),
    *(people.cl_reviewers, people.cl_owners, people.change_lists, people.people),
)


class StillSending(NotifyError):
    """An email of an earlier test is still being sent."""


@dataclass(frozen=True, slots=True)
class DeliveryStack:
    """
    Attributes:
        database: Our pool.
        engine: For the application under test.
    """

    database: Database
    engine: Engine
    _doorbell: Doorbell
    _emails: Path

    def ring(self) -> None:
        """Have the worker look for events at once."""
        self._doorbell.ring(FAN_OUT)

    def caught(self) -> list[Email]:
        """Every email since the last ``empty``."""
        return [read(file.read_bytes()) for file in self._emails.glob(f"*{SUFFIX}")]

    def empty(self) -> None:
        """
        Delete every event, email and person.

        Waits for what is leased, so that no email of an earlier test arrives in the next one.

        Raises:
            StillSending: That took too long.
        """
        end = monotonic() + QUIET_SECONDS
        while self._leased():
            if monotonic() > end:
                raise StillSending(seconds=QUIET_SECONDS)
            sleep(POLL_SECONDS)
        with self.database.begin() as connection:
            for table in EMPTIED:
                connection.execute(delete(table))
        for file in self._emails.glob(f"*{SUFFIX}"):
            file.unlink()

    def _leased(self) -> int:
        """How much the worker holds; it can claim nothing more."""
        items = emails.work_items
        ours = items.c.stage.in_([FAN_OUT, DELIVER])
        with self.database.begin() as connection:
            connection.execute(delete(items).where(ours, items.c.lane != Lane.LEASED))
            return connection.scalars(select(func.count()).select_from(items).where(ours)).one()


@contextmanager
def delivering() -> Iterator[DeliveryStack]:
    """
    A stack that lasts for the block, as does its folder. It has settings of its own, whatever this process's are.

    Raises:
        ModuleNotFoundError: The extra ``embedded`` is not installed.
    """
    with ExitStack() as exits:
        folder = exits.enter_context(TemporaryDirectory(prefix="notify-", ignore_cleanup_errors=True))
        ports = {name: free_port() for name in PORTS}
        settings = Settings(data_dir=Path(folder) / "data", bundle_seconds=0, worker_concurrency=1, **ports)
        worker = [command for command in COMMANDS if command.name == "worker"]
        stack = Stack(settings, commands=worker, console=Console(quiet=True), durable=False)
        # The worker reads .env where it starts, which must not be the application's: it may name a real relay.
        with chdir(folder):
            exits.enter_context(stack)
            stack.wait_until_ready()
        database = exits.enter_context(closing(wiring.database(stack.settings)))
        engine = create_engine(with_our_driver(database.url))
        exits.callback(engine.dispose)
        yield DeliveryStack(database, engine, wiring.doorbell(stack.settings), stack.data_dir / EMAILS)
