"""notify and another application on one database of a broker keep out of each other's way."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import run
from sys import executable
from uuid import uuid4

import pytest
import redis
from celery import Celery

from notify import wiring
from notify.domain.jobs import Stage
from notify.settings import Settings
from notify.store.database import Database
from tests.support.office import Office, comment
from tests.support.wait import until
from tests.support.worker import worker

TASK_ENDED = "succeeded in"
THEIR_QUEUES = ("deliver", "fan_out", "upkeep", "celery")
THEIR_UNACKNOWLEDGED = {"body": "", "headers": {}, "properties": {"delivery_info": {}}}


@pytest.fixture
def stranger(broker_url: str) -> Iterator[Celery]:
    """Another application on the same broker, with the settings that Celery has by itself."""
    with Celery(broker=broker_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def broker(broker_url: str) -> Iterator[redis.Redis]:
    """
    What is in the broker.

    One that is named from outside need not be a Redis.
    """
    if not broker_url.startswith("redis"):
        pytest.skip("NOTIFY_TEST_BROKER_URL names no Redis; expected redis://…")
    with redis.Redis.from_url(broker_url, decode_responses=True) as client:
        yield client


def test_a_worker_and_another_application_on_one_redis_take_and_end_nothing_of_each_other(
    environment: Mapping[str, str],
    stranger: Celery,
    broker: redis.Redis,
    broker_url: str,
    database: Database,
    tmp_path: Path,
) -> None:
    for name in THEIR_QUEUES:
        stranger.send_task("theirs", queue=name)
    broker.hset("unacked", "tag", json.dumps([THEIR_UNACKNOWLEDGED, "celery", "celery"]))
    broker.zadd("unacked_index", {"tag": 1.0})
    key, settings = uuid4().hex, Settings(_env_file=None, broker_url=broker_url)

    with worker({**environment, "NOTIFY_SWEEP_SECONDS": "60"}, tmp_path, processes=1) as running:
        running.wait_until_serving()
        stranger.control.shutdown()
        wiring.doorbell(settings).ring(Stage.DELIVER)
        until(lambda: TASK_ENDED in running.log.read_text())
        stranger.send_task("notify.receive", [[comment(key=key)]], queue="notify.fan_out")
        until(lambda: Office(database, None).now("SELECT 1 FROM notify.events WHERE key = :key", key=key))

        assert [broker.llen(name) for name in THEIR_QUEUES] == [1] * len(THEIR_QUEUES)
        assert broker.zrange("unacked_index", 0, -1) == ["tag"]
        assert wiring.celery_app(settings).control.ping(timeout=10, limit=1)
        assert stranger.control.ping(timeout=0.5) == []
        assert running.process.poll() is None


def test_a_worker_for_a_queue_that_is_none_of_ours_does_not_start(environment: Mapping[str, str]) -> None:
    command = (executable, "-m", "celery", "-A", "notify.worker.app", "worker", "--queues", "deliver")
    ended = run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode != 0
    assert "deliver" in ended.stdout + ended.stderr
