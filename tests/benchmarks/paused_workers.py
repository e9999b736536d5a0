"""The product's own Celery workers, up and serving, but held back until they are let go."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import environ, pathsep
from pathlib import Path
from time import sleep
from types import MappingProxyType

from sqlalchemy import Connection, text

from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.stages import DELIVER, FAN_OUT
from notify.embedded.processes import last_lines
from notify.settings import Settings
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.outbox import items
from tests.support.worker import RunningWorker, worker

ROOT = Path(__file__).parents[2]
BECAUSE = "tests/benchmarks hold the workers back"
LOOK_SECONDS = 0.025
FLUSH_SECONDS = 5
# min(), as the planner's statistics may be from an hour when every row was on its way.
IN_FLIGHT = text("""
    SELECT coalesce(
        (SELECT min(due_at) FROM notify.work_items WHERE stage = 'deliver' AND lane = 8),
        (SELECT min(due_at) FROM notify.work_items WHERE stage = 'fan_out' AND lane = 8)
    ) IS NOT NULL
""")


class NoRelay(NotifyError):
    """NOTIFY_SMTP_URL is not set; expected the URL of a relay."""


class RelayIsMuted(NotifyError):
    """Somebody has muted the relay: no email would be sent."""


class WorkersDidNotServe(NotifyError):
    """The workers did not come up, or ended before the work did."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{last_lines(Path(str(self.facts['log'])))}"


class PausedWorkers:
    """Workers that serve and wait. ``start`` lets them go, ``finish`` waits until nothing is left to do."""

    def __init__(self, settings: Settings, database: Database, running: RunningWorker, relay: str) -> None:
        self.running = running
        self._database = database
        self._relay = relay
        self._bell = wiring.doorbell(settings)
        self.ring()

    @property
    def pids(self) -> list[int]:
        """Of the worker: its parent process and the two that do the work."""
        return [self.running.process.pid, *self.running.children]

    def ring(self) -> None:
        """Ring for the workers; returns when the doorbell has left."""
        self._bell.ring(DELIVER)
        self._bell.flush(at_most_seconds=FLUSH_SECONDS)

    def start(self) -> None:
        """Let the workers go at once."""
        let_go(self._database, self._relay)
        self._bell.ring(DELIVER)

    def finish(self) -> None:
        """
        Return when nothing is due or on its way, every outcome recorded.

        Raises:
            WorkersDidNotServe: They are gone.
        """
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while busy(connection):
                if self.running.process.poll() is not None:
                    raise WorkersDidNotServe(log=self.running.log)
                sleep(LOOK_SECONDS)


@contextmanager
def paused_workers(
    settings: Settings, database: Database, folder: Path, *, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[PausedWorkers]:
    """
    A prefork worker with two processes that serves every queue and sends nothing until it is told to.

    It is held by the product's own means, a muted relay, so that start-up costs the measured time nothing.

    Args:
        folder: Takes its log.
        environment: What differs for the workers from the environment of this process.

    Raises:
        NoRelay: No mail is configured.
        RelayIsMuted: By somebody else.
        WorkersDidNotServe: In time.
    """
    relay = next(iter(tuple(one.name for one in wiring.relays(settings))), None)
    if relay is None:
        raise NoRelay
    hold(database, relay)
    try:
        with worker(_surroundings(environment), folder) as running:
            try:
                running.wait_until_serving()
            except AssertionError:
                raise WorkersDidNotServe(log=running.log) from None
            yield PausedWorkers(settings, database, running, relay)
    finally:
        let_go(database, relay)


def hold(database: Database, relay: str) -> None:
    """
    Nothing is claimed for the relay from now on.

    Raises:
        RelayIsMuted: By somebody else, who may not want it unmuted.
    """
    with database.begin() as connection:
        breaker = relays.breaker(connection, relay)
        if breaker.is_muted and breaker.muted_because != BECAUSE:
            raise RelayIsMuted(relay=relay, because=breaker.muted_because)
        relays.mute(connection, relay, because=BECAUSE)


def let_go(database: Database, relay: str) -> None:
    """Emails may be claimed again."""
    with database.begin() as connection:
        relays.unmute(connection, relay)


def busy(connection: Connection) -> bool:
    """Whether anything is due or on its way; what waits for a later hour is not."""
    due = items.is_due(connection, DELIVER) or items.is_due(connection, FAN_OUT)
    return due or bool(connection.scalar(IN_FLIGHT))


def _surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours, changed, with the checkout where Celery finds it from any working folder."""
    path = (str(ROOT), environ.get("PYTHONPATH"))
    return {**environ, **environment, "PYTHONPATH": pathsep.join(filter(None, path))}
