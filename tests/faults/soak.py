"""
A stack under faults for minutes while applications emit: ``make soak MINUTES=10``.

Ends with the checker and one table. Exit code 1 if an email was lost, one was repeated without
a reason, or any other promise was broken.
"""

import os
import platform
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread

import psutil
import redis
from rich.console import Console
from rich.table import Table

from notify import wiring
from notify.delivery.recorder import MOST_ROWS
from notify.embedded.postgres import PostgresServer
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.support.checker import Evidence, Summary, summary, tables, violations, watched
from tests.support.fault_scenario import still_open
from tests.support.harness import usernames
from tests.support.producer import Producer
from tests.support.proxy import Proxy
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.wire import seen_by
from tests.support.worker import RunningWorker, worker

PEOPLE = usernames(40)
AUDIENCE = 4
EMITTERS = 2
EVENTS_PER_SECOND = 12
ROLLED_BACK = 0.1
WORKERS = 2
PROCESSES = 2 * WORKERS
SESSIONS = 4
LEASE_SECONDS = 5
SETTLE_SECONDS = 900
PAUSE_BETWEEN_FAULTS = (2.0, 6.0)
# High enough for processes to have emails in flight most of the time: killing an idle one proves nothing.
LATENCY_SECONDS = 0.02
OUTAGE_SECONDS = (1.0, 8.0)
# What one process may have in flight: accepted by the relay and not yet recorded.
IN_HAND = SESSIONS + MOST_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Everything that runs, and the connections that can be cut."""

    postgres: PostgresServer
    broker: ValkeyServer
    relay: ScriptedRelay
    relay_line: Proxy
    workers: tuple[RunningWorker, ...]

    def children(self) -> list[psutil.Process]:
        """The workers' child processes."""
        return [psutil.Process(pid) for running in self.workers for pid in running.children]


class Chaos:
    """
    One fault after the other, chosen at random with a seed, until told to stop.

    ``done`` counts them; ``bound`` is how many copies beyond the first they may have caused.
    """

    def __init__(self, stack: Stack, *, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._stack = stack
        self._dice = Random(seed)
        self._over = Event()
        self._threads = ThreadPoolExecutor(1)

    @property
    def bound(self) -> int:
        """How many copies the faults so far may have caused: whatever was in flight in each process they hit."""
        hit = self.done["kill"] + self.done["freeze"] + PROCESSES * self.done["database restart"]
        return IN_HAND * hit + SESSIONS * PROCESSES * self.done["relay outage"]

    def start(self) -> None:
        self._running = self._threads.submit(self._run)

    def stop(self) -> None:
        """Finish the current fault, which repairs everything; raises any error of this class itself."""
        self._over.set()
        self._running.result()

    def _run(self) -> None:
        faults: Mapping[str, Callable[[], None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "broker flush": self._flush,
            "relay outage": self._relay_outage,
            "database restart": self._restart_database,
        }
        while not self._over.wait(self._dice.uniform(*PAUSE_BETWEEN_FAULTS)):
            name = self._dice.choice(list(faults))
            faults[name]()
            self.done[name] += 1

    def _kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._one_child().kill()

    def _freeze(self) -> None:
        """For longer than a lease."""
        with suppress(psutil.NoSuchProcess):
            frozen = self._one_child()
            frozen.suspend()
            self._wait(LEASE_SECONDS * 1.5)
            frozen.resume()

    def _flush(self) -> None:
        with redis.Redis.from_url(self._stack.broker.url) as client:
            client.flushall()

    def _relay_outage(self) -> None:
        self._stack.relay_line.refuse()
        self._wait(self._dice.uniform(*OUTAGE_SECONDS))
        self._stack.relay_line.heal()
        self._stack.relay_line.delay(LATENCY_SECONDS)

    def _restart_database(self) -> None:
        self._stack.postgres.stop()
        self._wait(self._dice.uniform(0, 2))
        self._stack.postgres.start()

    def _one_child(self) -> psutil.Process:
        return self._dice.choice(until(self._stack.children))

    def _wait(self, seconds: float) -> None:
        """Also when it is time to stop: a fault always has its full length."""
        Event().wait(seconds)


class Applications:
    """Threads that emit at a steady pace, and roll some of it back."""

    def __init__(self, producer: Producer, *, seed: int) -> None:
        self._producer = producer
        self._over = Event()
        self._threads = [Thread(target=self._emit, args=(Random(seed + n),), daemon=True) for n in range(EMITTERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _emit(self, dice: Random) -> None:
        while not self._over.wait(EMITTERS / EVENTS_PER_SECOND):
            self._producer.emit(*dice.sample(PEOPLE, AUDIENCE), roll_back=dice.random() < ROLLED_BACK)


@contextmanager
def stack(folder: Path) -> Iterator[tuple[Stack, Database]]:
    """A durable database, a broker, a relay behind a proxy, and running workers."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "database"))
        broker = stack.enter_context(ValkeyServer(folder / "broker"))
        relay = stack.enter_context(ScriptedRelay())
        line = stack.enter_context(Proxy(("127.0.0.1", relay.port)))
        line.delay(LATENCY_SECONDS)
        upgrade(postgres.url)
        database = Database(postgres.url)
        stack.callback(database.close)
        stack.enter_context(watched(database))
        workers = []
        for number in range(WORKERS):
            (folder / f"worker-{number}").mkdir()
            settings = environment(postgres, broker, line)
            workers.append(stack.enter_context(worker(settings, folder / f"worker-{number}")))
        for running in workers:
            running.wait_until_serving()
        yield Stack(postgres=postgres, broker=broker, relay=relay, relay_line=line, workers=tuple(workers)), database


def environment(postgres: PostgresServer, broker: ValkeyServer, line: Proxy) -> dict[str, str]:
    """A worker's environment."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")},
        "NOTIFY_DATABASE_URL": postgres.url,
        "NOTIFY_BROKER_URL": broker.url,
        "NOTIFY_SMTP_URL": line.smtp_url,
        "NOTIFY_MAIL_FROM": "notify@example.com",
        "NOTIFY_PUBLIC_URL": "https://notify.example.com",
        "NOTIFY_SECRET_KEYS": "k" * 32,
        "NOTIFY_LEASE_SECONDS": str(LEASE_SECONDS),
        "NOTIFY_SMTP_SESSIONS": str(SESSIONS),
    }


def run(minutes: float, *, seed: int, folder: Path, console: Console) -> tuple[Evidence, Counter[str]]:
    """Cause faults for this many minutes, wait until every row has ended, and collect the evidence."""
    with stack(folder) as (made, database):
        bell = wiring.doorbell(Settings(broker_url=made.broker.url))
        producer = Producer(database, doorbell=bell)
        producer.add_people(PEOPLE)
        applications, chaos = Applications(producer, seed=seed), Chaos(made, seed=seed)
        applications.start()
        chaos.start()
        with console.status("disturbing …"):
            Event().wait(minutes * 60)
            chaos.stop()
            applications.stop()
        with console.status("waiting for the last email …"):
            settle(database)
        with database.begin() as connection:
            believed = tables(connection)
        return Evidence(producer.log, seen_by(made.relay), believed, chaos.bound), chaos.done


def settle(database: Database) -> None:
    """Wait until every row has ended; the checker names those that have not."""
    with suppress(AssertionError):
        until(lambda: not still_open(database), seconds=SETTLE_SECONDS)


def report(figures: Summary, done: Counter[str], *, minutes: float, seed: int) -> Table:
    """The run as one table."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    table = Table(title=f"{minutes:g} min on {machine}, {datetime.now(UTC):%Y-%m-%d}, seed {seed}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    rows = {
        "events emitted and committed": figures.emitted,
        "people to be told": figures.owed,
        "lost": figures.lost,
        "repeated": figures.repeated,
        "attempts whose end nobody saw": figures.explained,
        "bound on repeats": figures.bound,
        "longest delay": f"{figures.longest_delay.total_seconds():.1f} s",
        **dict(sorted(done.items())),
    }
    for what, figure in rows.items():
        table.add_row(what, str(figure))
    return table


def main() -> int:
    """Soak as the arguments say; the exit code."""
    parser = ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="which faults come in which order")
    asked = parser.parse_args()
    console = Console()
    with TemporaryDirectory(prefix="notify-soak-") as folder:
        evidence, done = run(asked.minutes, seed=asked.seed, folder=Path(folder), console=console)
    console.print(report(summary(evidence), done, minutes=asked.minutes, seed=asked.seed))
    broken = violations(evidence)
    for line in broken:
        console.print(line, style="red")
    return 1 if broken or evidence.lost or evidence.repeated > evidence.bound else 0


if __name__ == "__main__":
    sys.exit(main())
