"""How soon a status is shown on an idle system, and how many a second, compared with plain httpx."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ, pathsep
from pathlib import Path
from statistics import median
from subprocess import Popen
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any

import httpx
from sqlalchemy import text

import notify
from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.stages import STATUSES
from notify.embedded.forge.server import CONFIGURATION
from notify.settings import Settings
from notify.statuses.apply import CALLS_AT_A_TIME
from notify.statuses.publish import publish
from notify.statuses.schema import parse
from notify.store.database import Database
from notify.store.operations import relays
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.measures.latency import PAUSE_SECONDS, TIMEOUT_SECONDS, WARM_UP, empty_tasks
from tests.benchmarks.meter import metered
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers import plain_httpx
from tests.benchmarks.peers.race import expect, go, race, ready
from tests.benchmarks.rows import Row, at_least, at_most
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker

SHA = "a" * 40
PROCESSES = 2
LOOK_SECONDS = 0.001
PLAIN = ROOT / "tests" / "benchmarks" / "peers" / "plain_httpx.py"
IS_APPLIED = text("SELECT status = 'applied' FROM notify.commit_statuses WHERE id = :id")
LEFT = text("SELECT count(*) FROM notify.commit_statuses WHERE status = 'pending'")


class Miscounted(NotifyError):
    """The forge was told of more or fewer statuses than there are."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Statuses a second, and processor time for each, of the processes that made the calls."""

    rate: float
    cpu_seconds: float


class Rig:
    """A forge and workers on one database, in processes of their own."""

    def __init__(self, here: Settings, database: Database, forge: "Popen[str]", running: RunningWorker) -> None:
        self._database, self._forge, self._running = database, forge, running
        self._bell = wiring.doorbell(here)
        known = wiring.forges(here, database).by_name["github"]
        self.url, self._endpoint = known.settings.api_url, known.endpoint
        self._published = 0

    def told(self) -> int:
        """How many statuses the forge was told of."""
        go(self._forge)
        return int(expect(self._forge, "done"))

    def shown(self) -> float:
        """Milliseconds from a commit until a status is applied."""
        sleep(PAUSE_SECONDS)
        with self._database.begin() as connection:
            receipt = notify.publish(connection, self._next(), doorbell=self._bell)
        committed = monotonic()
        with self._database.single() as connection:
            while not connection.scalar(IS_APPLIED, {"id": receipt.id}):
                sleep(LOOK_SECONDS)
        return (monotonic() - committed) * 1e3

    def plain(self, client: httpx.Client, number: int) -> float:
        """Milliseconds of one call."""
        sleep(PAUSE_SECONDS)
        began = monotonic()
        plain_httpx.show(client, f"{self.url}/repos/acme/app/statuses/{SHA}", f"idle/{number}")
        return (monotonic() - began) * 1e3

    def ours(self, statuses: int) -> Rate:
        """
        Publish while the forge is muted; then let the workers begin.

        Raises:
            Miscounted: A status was lost, or shown twice.
        """
        with self._database.begin() as connection:
            relays.mute(connection, self._endpoint, because="benchmark")
            publish(connection, [parse(self._next()) for _ in range(statuses)])
        before = self.told()
        pids = [self._running.process.pid, *self._running.children]
        with metered(pids) as meter:
            began = perf_counter()
            with self._database.begin() as connection:
                relays.unmute(connection, self._endpoint)
            self._bell.ring(STATUSES)
            until(self._are_applied, seconds=1_800)
            seconds = perf_counter() - began
        if self.told() - before != statuses:
            raise Miscounted(told=self.told() - before, statuses=statuses)
        return Rate(statuses / seconds, meter.cpu_seconds / statuses)

    def theirs(self, statuses: int) -> Rate:
        each, first = statuses // PROCESSES, self.told()
        calls = [
            (sys.executable, str(PLAIN), self.url, SHA, str(first + one * each), str(each), str(CALLS_AT_A_TIME))
            for one in range(PROCESSES)
        ]
        finish = race(calls)
        if self.told() - first != each * PROCESSES:
            raise Miscounted(told=self.told() - first, statuses=each * PROCESSES)
        return Rate(each * PROCESSES / finish.seconds, finish.cpu_seconds / (each * PROCESSES))

    def _next(self) -> Mapping[str, Any]:
        self._published += 1
        return {
            "forge": "github",
            "repository": "acme/app",
            "sha": SHA,
            "context": f"ours/{self._published}",
            "state": "success",
            "description": plain_httpx.DESCRIPTION,
            "target_url": plain_httpx.TARGET_URL,
        }

    def _are_applied(self) -> bool:
        sleep(0.05)
        with self._database.single() as connection:
            return not connection.scalar(LEFT)


def measure(bench: Bench) -> Iterator[Row]:
    """Idle, one status at a time; then many, by turns with plain httpx."""
    samples, statuses = bench.scale.samples, bench.scale.statuses
    empty = empty_tasks(bench.servers, samples)
    with _rig(bench.servers) as rig:
        ours = [rig.shown() for _ in range(samples + WARM_UP)][WARM_UP:]
        with httpx.Client(headers=plain_httpx.HEADERS, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            call = median([rig.plain(client, number) for number in range(samples + WARM_UP)][WARM_UP:])
        yield Row(
            what="status, idle, commit to applied, median",
            unit="ms",
            figure=median(ours),
            beside="2 empty Celery tasks and the forge's call",
            other=2 * median(empty) + call,
            goal=at_most(1),
            note=f"an empty task {median(empty):.1f} ms, the call {call:.1f} ms; {samples} of each",
        )
        turns = [(rig.ours(statuses), rig.theirs(statuses)) for _ in range(bench.scale.repeats)]
    ours_best, theirs_best = (max(rates, key=lambda one: one.rate) for rates in zip(*turns, strict=True))
    yield Row(
        what="statuses shown",
        unit="statuses/s",
        figure=ours_best.rate,
        beside="plain httpx, two processes",
        other=theirs_best.rate,
        goal=at_least(0.5),
        note=f"{statuses:,} on the embedded forge, {CALLS_AT_A_TIME} calls at a time in each process",
    )
    yield Row(
        what="workers' CPU per status",
        unit="µs CPU",
        figure=ours_best.cpu_seconds * 1e6,
        beside="plain httpx",
        other=theirs_best.cpu_seconds * 1e6,
    )


@contextmanager
def _rig(servers: BenchmarkServers) -> Iterator[Rig]:
    with servers.database() as database, TemporaryDirectory(dir=servers.folder) as name:
        folder = Path(name)
        path = pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))
        command = (sys.executable, "-m", "tests.benchmarks.forge_process", str(folder / "forge"), SHA)
        with ready([command], environment={**environ, "PYTHONPATH": path}) as (forge,):
            ours = servers.environment(database, forges_file=str(folder / "forge" / CONFIGURATION))
            with worker({**environ, **ours, "PYTHONPATH": path}, folder, processes=PROCESSES) as running:
                running.wait_until_serving()
                yield Rig(settings(ours), database, forge, running)
