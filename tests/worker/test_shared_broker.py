"""notify and another application on one broker database do not interfere."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from celery import Celery

from notify import wiring
from notify.domain.stages import DELIVER
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from notify.store.database import Database
from tests.support import fork_server
from tests.support.harness import WorkerHarness, comment
from tests.support.wait import until
from tests.support.worker import TASK_ENDED, worker

LOST = "Connection to broker lost"
THEIR_QUEUES = ("deliver", "fan_out", "upkeep", "celery")
THEIR_UNACKNOWLEDGED = {"body": "", "headers": {}, "properties": {"delivery_info": {}}}


@dataclass(frozen=True, slots=True)
class Shared:
    """A broker that two applications share, as each of them reaches it, and its contents."""

    ours: str
    theirs: str
    client: redis.Redis


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """Notify's permissions are those that docs/operations.md asks for."""
    with ValkeyServer(tmp_path / "broker") as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        client.acl_setuser(
            "notify",
            enabled=True,
            passwords=["+word"],
            keys=["notify.*", "*.notify.pidbox*", "_kombu.*"],
            channels=["*"],
            categories=["+@all", "-@admin", "-@dangerous"],
        )
        yield Shared(server.url.replace("redis://", "redis://notify:word@"), server.url, client)


def test_a_worker_and_another_application_on_one_redis_take_nothing_from_each_other(
    environment: Mapping[str, str], shared: Shared, database: Database, tmp_path: Path
) -> None:
    stranger = Celery(broker=shared.theirs, set_as_current=False)
    for name in THEIR_QUEUES:
        stranger.send_task("theirs", queue=name)
    shared.client.hset("unacked", "tag", json.dumps([THEIR_UNACKNOWLEDGED, "celery", "celery"]))
    shared.client.zadd("unacked_index", {"tag": 1.0})
    key, settings = uuid4().hex, Settings(_env_file=None, broker_url=shared.ours)
    changes = {"NOTIFY_SWEEP_SECONDS": "60", "NOTIFY_BROKER_URL": shared.ours}

    with stranger, worker({**environment, **changes}, tmp_path, processes=1) as running:
        running.wait_until_serving()
        wiring.doorbell(settings).ring(DELIVER)
        until(lambda: TASK_ENDED in running.log.read_text())
        stranger.control.shutdown()
        stranger.send_task("notify.receive", [[comment(key=key)]], queue="notify.fan_out")
        until(lambda: WorkerHarness(database, None).execute("SELECT 1 FROM notify.events WHERE key = :key", key=key))

        assert [shared.client.llen(name) for name in THEIR_QUEUES] == [1] * len(THEIR_QUEUES)
        assert shared.client.zrange("unacked_index", 0, -1) == ["tag"]
        assert wiring.celery_app(settings).control.ping(timeout=10, limit=1)
        assert stranger.control.ping(timeout=0.5) == []
        assert running.process.poll() is None
        assert LOST not in running.log.read_text()
        running.vanish()


def test_a_worker_for_a_foreign_queue_does_not_start(environment: Mapping[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = fork_server.start("notify.worker", "--queues", "deliver", environment=environment, log=log)

    assert started.wait(60) != 0
    assert "deliver" in log.read_text()
