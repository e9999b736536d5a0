"""A program that can write to the broker may inspect workers; changing one takes a setting."""

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from notify import wiring
from notify.settings import Settings
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker

QUEUE = "notify.deliver"
CHANGING: Mapping[str, Mapping[str, object]] = {
    "shutdown": {},
    "pool_grow": {"n": 1},
    "pool_shrink": {"n": 1},
    "pool_restart": {},
    "autoscale": {"max": 1, "min": 1},
    "add_consumer": {"queue": "others"},
    "cancel_consumer": {"queue": QUEUE},
    "rate_limit": {"task_name": QUEUE, "rate_limit": "1/h"},
    "time_limit": {"task_name": QUEUE, "hard": 0.001, "soft": 0.001},
    "revoke": {"task_id": ["some-task"]},
    "terminate": {"signal": "KILL", "task_id": ["some-task"]},
    "revoke_by_stamped_headers": {"headers": {"a": ["b"]}},
    "disable_events": {},
    "election": {"id": "1", "topic": "task", "action": {}},
    "objgraph": {},
    "memdump": {},
}
LOOKING = (
    "stats",
    "active_queues",
    "registered",
    "scheduled",
    "active",
    "reserved",
    "revoked",
    "conf",
    "ping",
    "report",
)


@pytest.fixture
def ours(broker_url: str) -> Celery:
    """An application that can write to the broker and knows our names."""
    return wiring.celery_app(Settings(_env_file=None, broker_url=broker_url))


def told(app: Celery, command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """The worker's answer."""
    replies = app.control.broadcast(command, arguments=dict(arguments), reply=True, timeout=10, limit=1)
    assert replies, f"nobody answers {command}"
    (answer,) = replies[0].values()
    assert isinstance(answer, dict | list)
    return answer if isinstance(answer, dict) else {"listed": answer}


def until_heard(app: Celery) -> None:
    """Return when the worker hears broadcasts: it subscribes a moment after it reports ready."""
    until(lambda: app.control.ping(timeout=0.5, limit=1))


def task_ended(running: RunningWorker) -> bool:
    return "succeeded in" in running.log.read_text()


def test_over_the_broker_a_worker_can_be_inspected_but_not_changed(
    environment: Mapping[str, str], ours: Celery, tmp_path: Path
) -> None:
    with worker({**environment, "NOTIFY_SWEEP_SECONDS": "60"}, tmp_path, processes=1) as running:
        running.wait_until_serving()
        until_heard(ours)
        refused = {name: "error" in told(ours, name, arguments) for name, arguments in CHANGING.items()}
        told(ours, "hello", {"from_node": "celery@elsewhere", "revoked": [revoked := uuid4().hex]})
        seen = {name: told(ours, name, {}) for name in LOOKING}
        ours.send_task(QUEUE, task_id=revoked)
        until(lambda: task_ended(running))
        assert len(running.children) == 1
        running.vanish()

    assert refused == dict.fromkeys(CHANGING, True)
    assert [name for name, answer in seen.items() if "error" in answer] == []
    assert seen["revoked"] == {"listed": []}


def test_an_operator_may_allow_changing_workers_over_the_broker(
    environment: Mapping[str, str], ours: Celery, tmp_path: Path
) -> None:
    with worker({**environment, "NOTIFY_WORKER_REMOTE_CONTROL": "true"}, tmp_path, processes=1) as running:
        running.wait_until_serving()
        until_heard(ours)
        ours.control.shutdown()
        assert running.process.wait(30) == 0


def test_a_task_from_a_stranger_has_notifys_limits_and_none_of_its_own(
    environment: Mapping[str, str], ours: Celery, tmp_path: Path
) -> None:
    with worker(environment, tmp_path, processes=1) as running:
        running.wait_until_serving()
        before = running.children
        for _ in range(3):
            ours.send_task("notify.upkeep.prune", time_limit=0.0001, soft_time_limit=0.0001)
        until(lambda: running.log.read_text().count("succeeded in") == 3)

        assert running.children == before
        running.vanish()
