"""notify's own Celery workers, up and serving, but paused until they are started."""

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
BECAUSE = "tests/benchmarks pause the workers"
LOOK_SECONDS = 0.025
FLUSH_SECONDS = 5
# min(), because the planner's statistics may be from a time when every row was in flight.
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
    """Workers that serve and wait. ``start`` starts them, ``finish`` waits until nothing is left to do."""

    def __init__(self, settings: Settings, database: Database, running: RunningWorker, relay: str) -> None:
        self.running = running
        self._database = database
        self._relay = relay
        self._bell = wiring.doorbell(settings)
        self.ring()

    @property
    def pids(self) -> list[int]:
        """The worker's parent process and its two children."""
        return [self.running.process.pid, *self.running.children]

    def ring(self) -> None:
        """Ring for the workers; returns when the doorbell has been sent."""
        self._bell.ring(DELIVER)
        self._bell.flush(at_most_seconds=FLUSH_SECONDS)

    def start(self) -> None:
        """Let the workers begin at once."""
        resume(self._database, self._relay)
        self._bell.ring(DELIVER)

    def finish(self) -> None:
        """
        Return when nothing is due or in flight, every outcome recorded.

        Raises:
            WorkersDidNotServe: They have ended.
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
    A prefork worker with two processes that serves every queue and sends nothing until it is started.

    A muted relay, one of notify's own features, pauses it, so that its start is not measured.

    Args:
        folder: For its log.
        environment: Variables that differ from this process's environment.

    Raises:
        NoRelay: No mail is configured.
        RelayIsMuted: Somebody else has muted it.
        WorkersDidNotServe: They did not start in time.
    """
    relay = next(iter(tuple(one.name for one in wiring.relays(settings))), None)
    if relay is None:
        raise NoRelay
    pause(database, relay)
    try:
        with worker(_surroundings(environment), folder) as running:
            try:
                running.wait_until_serving()
            except AssertionError:
                raise WorkersDidNotServe(log=running.log) from None
            yield PausedWorkers(settings, database, running, relay)
    finally:
        resume(database, relay)


def pause(database: Database, relay: str) -> None:
    """
    Mute the relay, so that nothing is claimed from now on.

    Raises:
        RelayIsMuted: Somebody else has muted it, who may not want it unmuted.
    """
    with database.begin() as connection:
        breaker = relays.breaker(connection, relay)
        if breaker.is_muted and breaker.muted_because != BECAUSE:
            raise RelayIsMuted(relay=relay, because=breaker.muted_because)
        relays.mute(connection, relay, because=BECAUSE)


def resume(database: Database, relay: str) -> None:
    """Unmute the relay."""
    with database.begin() as connection:
        relays.unmute(connection, relay)


def busy(connection: Connection) -> bool:
    """Whether anything is due or in flight; what is due later does not count."""
    due = items.is_due(connection, DELIVER) or items.is_due(connection, FAN_OUT)
    return due or bool(connection.scalar(IN_FLIGHT))


def _surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these changes, and the checkout where Celery finds it from any working folder."""
    path = (str(ROOT), environ.get("PYTHONPATH"))
    return {**environ, **environment, "PYTHONPATH": pathsep.join(filter(None, path))}
