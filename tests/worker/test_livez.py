"""
A worker's health endpoint tells a stuck process from one that is being replaced.

All tests but the last leave the worker healthy.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from notify.embedded.ports import LOOPBACK, free_port
from notify.wiring import SILENT_ENGINE_SECONDS
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def settings(lasting_environment: Mapping[str, str], port: int) -> dict[str, str]:
    return {**lasting_environment, "NOTIFY_WORKER_HEALTH_PORT": str(port)}


@pytest.fixture(scope="module")
def running(settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    with worker(settings, tmp_path_factory.mktemp("worker")) as started:
        started.wait_until_serving()
        yield started


@pytest.fixture(scope="module")
def health(running: RunningWorker, port: int) -> Iterator[httpx.Client]:
    assert running.process.poll() is None
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client:
        yield client


def test_a_worker_reports_that_all_its_processes_are_alive(health: httpx.Client) -> None:
    answer = health.get("/livez")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"ok": True, "detail": "2 of 2 processes are alive"}
    assert health.get("/").status_code == 404


def test_a_frozen_process_makes_the_worker_unhealthy_until_it_continues(
    running: RunningWorker, health: httpx.Client
) -> None:
    sleeper = psutil.Process(running.children[1])
    sleeper.suspend()
    try:
        until(lambda: health.get("/livez").status_code == 503, seconds=2 * SILENT_ENGINE_SECONDS, every_seconds=0.1)
        assert "is silent: engine" in health.get("/livez").json()["detail"]
    finally:
        sleeper.resume()

    until(lambda: health.get("/livez").status_code == 200)


def test_a_replaced_process_never_makes_the_worker_unhealthy(running: RunningWorker, health: httpx.Client) -> None:
    before = set(running.children)
    victim = running.kill_one_child()
    statuses = set()

    def replaced() -> bool:
        statuses.add(health.get("/livez").status_code)
        return running.log.read_text().count("worker.ready") == 3

    until(replaced, seconds=SILENT_ENGINE_SECONDS)

    assert statuses == {200}
    assert set(running.children) > before - {victim}


def test_a_worker_whose_health_port_is_taken_does_not_start(
    running: RunningWorker, settings: Mapping[str, str], port: int, tmp_path: Path
) -> None:
    with worker(settings, tmp_path) as second:
        assert second.process.wait(60) != 0
        assert f"NOTIFY_WORKER_HEALTH_PORT is {port}" in second.log.read_text()
    assert running.process.poll() is None


def test_only_the_parent_listens_on_the_health_port(running: RunningWorker, port: int) -> None:
    for child in running.children:
        assert not [one for one in psutil.Process(child).net_connections() if one.laddr.port == port]
    assert running.stop() == 0
    assert free_port(port) == port
