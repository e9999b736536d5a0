"""A fault test's set-up: a producer, workers, a relay, and the checker at the end."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import text

from notify.store.database import Database
from tests.support.bare_worker import BareWorker, bare_worker
from tests.support.checker import Evidence, Summary, Tables, check, tables, watched
from tests.support.harness import WorkerHarness
from tests.support.messages import parsed, text_of
from tests.support.producer import Producer
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.wire import seen_by
from tests.support.worker import RunningWorker, worker

LEASE_SECONDS = 2
OPEN = text("""
    SELECT (SELECT count(*) FROM notify.work_items WHERE lane < 9)
         + (SELECT count(*) FROM notify.email_jobs WHERE status = 'pending')
""")
STATE = text("""
    SELECT now()::text
    UNION ALL SELECT to_jsonb(one)::text FROM notify.work_items one
    UNION ALL SELECT to_jsonb(one)::text FROM notify.email_attempts one
    UNION ALL SELECT to_jsonb(one)::text FROM notify.endpoints one
""")
LOG_CHARACTERS = 4_000
TIME_PASSES = """
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8;
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open';
"""
LEASES_END = """
    UPDATE notify.work_items SET due_at = now() - interval '1 second' WHERE lane = 8;
    UPDATE notify.work_items SET due_at = now() - interval '1 second' WHERE lane = 8;
"""
# A look at a queue's ref is a lease too; those that are an hour away are waited for.
LOOKS_END = "UPDATE notify.queue_polls SET due_at = now() WHERE due_at <= now() + interval '1 minute'"


class FaultScenario:
    """
    What every fault test works with.

    Args:
        environment: For processes of notify, complete but for the relay.
        folder: For the processes' logs.
    """

    def __init__(self, database: Database, environment: Mapping[str, str], relay: ScriptedRelay, folder: Path) -> None:
        self.database = database
        self.relay = relay
        self.producer = Producer(database)
        self.environment = {
            **environment,
            "NOTIFY_SMTP_URL": relay.url,
            "NOTIFY_LEASE_SECONDS": str(LEASE_SECONDS),
            "NOTIFY_SWEEP_SECONDS": "0.2",
        }
        self._folder = folder

    def emit(self, *people: str) -> None:
        """Put these people into the directory and emit one event about them."""
        self.producer.add_people(people)
        self.producer.emit(*people)

    @contextmanager
    def bare_worker(self, environment: Mapping[str, str] | None = None, **changes: str) -> Iterator[BareWorker]:
        """One worker process without Celery; *changes* are settings without their prefix."""
        with bare_worker(
            {**(environment or self.environment), **_settings(changes)}, self._folder / "bare_worker.log"
        ) as running:
            yield running

    @contextmanager
    def worker(self, *, processes: int = 1, **changes: str) -> Iterator[RunningWorker]:
        """A running Celery worker, in a folder of its own; it is killed at the end."""
        folder = Path(mkdtemp(dir=self._folder))
        settings = {**self.environment, **_settings(changes)}
        with worker(settings, folder, processes=processes) as running:
            running.wait_until_serving()
            yield running
            running.vanish()

    def harness(self, **changes: object) -> WorkerHarness:
        """A worker's parts in this process, to run step by step."""
        return WorkerHarness(self.database, self.relay.url, {"lease_seconds": LEASE_SECONDS, **changes})

    def rescue(self) -> None:
        """End all leases, and do what another worker would do then."""
        self.harness().execute(LEASES_END)
        self.drain()

    def drain(self, **changes: object) -> dict[str, float]:
        """Make everything due, then fan out and drain once, as one worker process."""
        harness = self.harness(**changes)
        harness.execute(TIME_PASSES)
        harness.fan_out()
        return harness.drain()

    def until_all_ended(self, *, seconds: float = 60) -> None:
        """Return when nothing is due, leased or waiting; the error says what still is, and what the workers logged."""
        try:
            until(lambda: not still_open(self.database), seconds=seconds)
        except AssertionError as error:
            error.add_note(self._state())
            raise

    def _state(self) -> str:
        with self.database.begin() as connection:
            rows = connection.scalars(STATE).all()
        logs = (f"{log}:\n{log.read_text()[-LOG_CHARACTERS:]}" for log in sorted(self._folder.rglob("*worker.log")))
        return "\n\n".join(["\n".join(rows), *logs])

    def tables(self) -> Tables:
        """What notify believes now."""
        with self.database.begin() as connection:
            return tables(connection)

    def told(self) -> list[list[int]]:
        """
        The numbers of the events in each email, in order of arrival.

        Copies count once, and must be about the same events.
        """
        found: dict[str, list[int]] = {}
        for one in self.relay.emails:
            email = parsed(one.content)
            words = [int(number) for number in re.findall(r"^> event-(\d+)", text_of(email), re.MULTILINE)]
            assert found.setdefault(email["Message-ID"], words) == words
        return list(found.values())

    def check(self, *others: ScriptedRelay, bound: int = 0, unsent: int = 0) -> Summary:
        """
        The run in figures, if every promise was kept and every email but *unsent* has arrived.

        Args:
            others: Other relays that took emails.
            bound: How many copies beyond the first the faults may have caused.
        """
        figures = check(Evidence(self.producer.log, seen_by(self.relay, *others), self.tables(), bound))
        assert figures.unsent == unsent
        return figures


def still_open(database: Database) -> int:
    """How many rows have not ended."""
    with database.begin() as connection:
        return connection.scalar(OPEN) or 0


@contextmanager
def fault_scenario(
    database: Database, environment: Mapping[str, str], relay: ScriptedRelay, folder: Path
) -> Iterator[FaultScenario]:
    """A scenario on an empty database that records forbidden changes."""
    with watched(database):
        yield FaultScenario(database, environment, relay, folder)


def _settings(changes: Mapping[str, str]) -> dict[str, str]:
    return {f"NOTIFY_{name.upper()}": value for name, value in changes.items()}
