"""How soon an email is sent on an idle system, compared with an empty Celery task."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGTERM
from statistics import median, quantiles
from subprocess import STDOUT, Popen
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import redis
from celery import Celery

import notify
from notify import wiring
from notify.domain.ports import Doorbell
from notify.embedded.processes import stop
from notify.store.database import Database
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.paused_workers import ROOT, paused_workers
from tests.benchmarks.peers import empty_task
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sink import Sink, sink
from tests.support.servers import empty_broker
from tests.support.wait import until

PAUSE_SECONDS = 0.1
WARM_UP = 5
TIMEOUT_SECONDS = 30
STOP_SECONDS = 30
EMPTY_TASK = "Celery's empty task, sent to begun"
EMPTY_WORKER = ("-m", "celery", "-A", "tests.benchmarks.peers.empty_task", "worker", "--concurrency", "2", "-l", "info")


def measure(bench: Bench) -> Iterator[Row]:
    """Milliseconds from a commit to the relay's 250, one event at a time."""
    samples = bench.scale.samples
    ours, theirs = _emails(bench.servers, samples), empty_tasks(bench.servers, samples)
    for name, of, goal in (("median", median, at_most(2.5, best=2)), ("p99", p99, at_most(2.5))):
        yield Row(
            what=f"idle, commit to 250, {name}",
            unit="ms",
            figure=of(ours),
            beside=EMPTY_TASK,
            other=of(theirs),
            goal=goal,
            note=f"{samples} events, {PAUSE_SECONDS * 1e3:g} ms apart",
        )


def p99(times: list[float]) -> float:
    """The time that one in a hundred exceeds."""
    return quantiles(times, n=100, method="inclusive")[-1]


def _emails(servers: BenchmarkServers, samples: int) -> list[float]:
    with (
        servers.database() as database,
        sink(servers.folder, own=True) as near,
        TemporaryDirectory(dir=servers.folder) as folder,
    ):
        environment = servers.environment(database, near.url)
        here = settings(environment)
        workload.fill_directory(database)
        bell = wiring.doorbell(here)
        with paused_workers(here, database, Path(folder), environment=environment) as workers:
            workers.start()
            one_each = workload.events(samples + WARM_UP, audience=1)
            return [_email(database, event, bell, near, number) for number, event in enumerate(one_each, 1)][WARM_UP:]


def _email(database: Database, event: Mapping[str, Any], bell: Doorbell, near: Sink, number: int) -> float:
    """Milliseconds until the email of this event, the *number*th at the sink, was answered."""
    sleep(PAUSE_SECONDS)
    with database.begin() as connection:
        notify.emit(connection, event, doorbell=bell)
    committed = monotonic()
    return (near.ask(least=number).answered_at - committed) * 1e3


def empty_tasks(servers: BenchmarkServers, samples: int) -> list[float]:
    empty_broker(servers.broker)
    environment = {**os.environ, empty_task.BROKER: servers.broker, "PYTHONPATH": str(ROOT)}
    app = empty_task.app
    app.conf.broker_url = servers.broker
    with (
        _empty_worker(environment, servers.folder / "empty.log"),
        closing(redis.Redis.from_url(servers.broker)) as client,
    ):
        return [_task(app, client) for _ in range(samples + WARM_UP)][WARM_UP:]


def _task(app: Celery, client: redis.Redis) -> float:
    """Milliseconds until the task ran."""
    sleep(PAUSE_SECONDS)
    sent = monotonic()
    app.send_task("empty", queue="empty")
    found = client.blpop([empty_task.RAN], timeout=TIMEOUT_SECONDS)
    assert found is not None
    return (float(found[1]) - sent) * 1e3


@contextmanager
def _empty_worker(environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = Popen(
            (sys.executable, *EMPTY_WORKER),
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: " ready." in log.read_text(), seconds=TIMEOUT_SECONDS)
        yield
    finally:
        stop(process, (SIGTERM, STOP_SECONDS))
