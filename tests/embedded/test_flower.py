"""Flower as operators use it: every page and every read call answers, for this machine only."""

import io
import re
from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console

from notify import wiring
from notify.domain.stages import queue
from notify.embedded.commands import COMMANDS, environment
from notify.embedded.ports import free_port
from notify.embedded.stack import WORKER_NAME, Stack
from notify.settings import Settings
from tests.support.wait import until
from tests.support.worker import worker

QUEUES = {queue(stage) for stage in (*wiring.STAGE_NAMES, "upkeep")}
COLUMNS = "&".join(f"columns[{number}][data]=name" for number in range(7))
TABLE = f"/tasks/datatable?draw=1&start=0&length=10&search[value]=&order[0][column]=0&order[0][dir]=asc&{COLUMNS}"
INSPECTED = {"stats", "active_queues", "registered", "conf"}
PAGES = ("/", "/workers", f"/worker/{WORKER_NAME}", "/tasks", "/broker", "/metrics", "/healthcheck")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Flower alone on the embedded servers, the broker with its password."""
    ports = {f"{name}_port": free_port() for name in ("api", "flower", "catcher", "inbox")}
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("stack"), **ports)
    commands = [command for command in COMMANDS if command.name == "flower"]
    with Stack(settings, commands=commands, console=Console(file=io.StringIO())) as up:
        up.wait_until_ready()
        yield up


@pytest.fixture(scope="module")
def lonely(stack: Stack) -> Iterator[httpx.Client]:
    """Flower, which knows of no worker until ``flower`` is asked for."""
    with httpx.Client(base_url=stack.state.urls["flower"], timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def flower(lonely: httpx.Client, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Flower, which has all of a worker's answers, each of which comes by itself, and has seen one task."""
    folder = tmp_path_factory.mktemp("worker")
    with worker(environment(stack.settings), folder, processes=1, name=WORKER_NAME) as running:
        running.wait_until_serving()
        until(lambda: lonely.get("/api/workers?refresh=1").json().get(WORKER_NAME, {}).keys() >= INSPECTED, seconds=60)
        wiring.celery_app(stack.settings).send_task("notify.upkeep.stats")
        until(lambda: lonely.get("/api/tasks?state=SUCCESS").json())
        yield lonely
        running.vanish()


def test_queues_are_shown_while_no_worker_is_known(lonely: httpx.Client) -> None:
    lengths = lonely.get("/api/queues/length")
    page = lonely.get("/broker")

    assert lonely.get("/api/workers?refresh=1").json() == {}
    assert lengths.status_code == page.status_code == 200
    assert {queue["name"] for queue in lengths.json()["active_queues"]} == QUEUES
    assert set(re.findall(r"notify\.\w+", page.text)) >= QUEUES


@pytest.mark.parametrize("page", PAGES)
def test_every_page_for_operators_is_there(flower: httpx.Client, page: str) -> None:
    assert flower.get(page).status_code == 200


def test_the_broker_tab_has_a_row_for_each_queue(flower: httpx.Client) -> None:
    assert set(re.findall(r"notify\.\w+", flower.get("/broker").text)) >= QUEUES


def test_the_api_has_the_length_of_each_queue(flower: httpx.Client) -> None:
    lengths = flower.get("/api/queues/length")

    assert lengths.status_code == 200
    assert {queue["name"] for queue in lengths.json()["active_queues"]} == QUEUES


def test_the_api_lists_workers_and_tasks(flower: httpx.Client) -> None:
    worker = flower.get("/api/workers").json()[WORKER_NAME]
    assert {queue["name"] for queue in worker["active_queues"]} == QUEUES
    assert worker["conf"]["task_default_queue"] == "notify.upkeep"

    (identifier, task), *_ = flower.get("/api/tasks").json().items()
    assert flower.get(f"/api/task/info/{identifier}").json()["name"] == task["name"]
    assert "notify.upkeep.stats" in flower.get("/api/task/types").json()["task-types"]
    assert flower.get(f"/task/{identifier}").status_code == 200
    assert flower.get(TABLE).json()["recordsTotal"] >= 1


def test_flower_shows_the_brokers_password_nowhere(flower: httpx.Client, stack: Stack) -> None:
    assert stack.settings.broker_url is not None
    url = httpx.URL(stack.settings.broker_url.get_secret_value())
    assert url.password

    for page in (*PAGES, "/api/workers"):
        assert url.password not in flower.get(page).text


@pytest.mark.parametrize("page", ["/", "/tasks", "/api/workers", "/api/tasks", "/broker", "/metrics"])
def test_a_site_that_rebinds_its_name_to_flower_reads_nothing(flower: httpx.Client, page: str) -> None:
    assert flower.get(page, headers={"Host": f"site.example:{flower.base_url.port}"}).status_code == 403


def test_no_other_site_may_read_flowers_answers(flower: httpx.Client) -> None:
    answer = flower.get("/api/tasks", headers={"Origin": "https://site.example"})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("call", ["worker/shutdown/", "worker/pool/grow/", "task/send-task/"])
def test_flower_changes_nothing(flower: httpx.Client, call: str) -> None:
    assert flower.post(f"/api/{call}{WORKER_NAME}").status_code == 403
