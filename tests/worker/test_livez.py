"""A worker's health endpoint tells a stuck process from one that is being replaced."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from notify.embedded.ports import LOOPBACK, free_port
from notify.wiring import SILENT_ENGINE_SECONDS
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def settings(environment: Mapping[str, str], port: int) -> dict[str, str]:
    return {**environment, "NOTIFY_WORKER_HEALTH_PORT": str(port)}


@pytest.fixture
def running(settings: Mapping[str, str], tmp_path: Path) -> Iterator[RunningWorker]:
    with worker(settings, tmp_path) as started:
        started.wait_until_serving()
        yield started


def ask(port: int, path: str = "/livez") -> httpx.Response:
    return httpx.get(f"http://{LOOPBACK}:{port}{path}")


@pytest.mark.usefixtures("running")
def test_a_worker_reports_that_all_its_processes_are_alive(port: int) -> None:
    answer = ask(port)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"ok": True, "detail": "2 of 2 processes are alive"}
    assert ask(port, "/").status_code == 404


def test_a_frozen_process_makes_the_worker_unhealthy_until_it_continues(running: RunningWorker, port: int) -> None:
    sleeper = psutil.Process(running.children[1])
    sleeper.suspend()
    try:
        until(lambda: ask(port).status_code == 503, seconds=2 * SILENT_ENGINE_SECONDS)
        assert "is silent: engine" in ask(port).json()["detail"]
    finally:
        sleeper.resume()

    until(lambda: ask(port).status_code == 200)


def test_a_replaced_process_never_makes_the_worker_unhealthy(running: RunningWorker, port: int) -> None:
    before = set(running.children)
    victim = running.kill_one_child()
    statuses = set()

    def replaced() -> bool:
        statuses.add(ask(port).status_code)
        return running.log.read_text().count("worker.ready") == 3

    until(replaced, seconds=SILENT_ENGINE_SECONDS)

    assert statuses == {200}
    assert set(running.children) > before - {victim}


def test_only_the_parent_listens_on_the_health_port(running: RunningWorker, port: int) -> None:
    for child in running.children:
        assert not [one for one in psutil.Process(child).net_connections() if one.laddr.port == port]
    assert running.stop() == 0
    assert free_port(port) == port


def test_a_worker_whose_health_port_is_taken_does_not_start(
    running: RunningWorker, settings: Mapping[str, str], port: int, tmp_path: Path
) -> None:
    (folder := tmp_path / "second").mkdir()
    with worker(settings, folder) as second:
        assert second.process.wait(60) != 0
        assert f"NOTIFY_WORKER_HEALTH_PORT is {port}" in second.log.read_text()
    assert running.process.poll() is None
