"""How a worker starts, and what Celery's commands print when notify cannot run."""

from collections.abc import Mapping
from pathlib import Path
from subprocess import run
from sys import executable

import pytest
import redis

from tests.support.worker import worker


@pytest.mark.parametrize(
    "command",
    [
        "notify.worker",
        "celery -A notify.worker.app worker",
        "celery -A notify.worker.app beat",
        "celery -A notify.worker.app flower",
    ],
)
def test_celerys_commands_say_in_one_sentence_that_notify_needs_a_broker(
    environment: Mapping[str, str], command: str
) -> None:
    without = {name: value for name, value in environment.items() if name != "NOTIFY_BROKER_URL"}
    started = (executable, "-m", *command.split())
    ended = run(started, env=without, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.stderr.count("NOTIFY_BROKER_URL is not set") == 1


def test_a_starting_worker_asks_no_other_worker_and_waits_for_no_answer(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    with redis.Redis.from_url(environment["NOTIFY_BROKER_URL"]) as broker, broker.pubsub() as listening:
        listening.psubscribe("*pidbox*")
        with worker(environment, tmp_path, processes=1) as running:
            running.wait_until_serving()
            running.vanish()
        broker.publish("notify.pidbox", "the end")
        heard = next(message["data"] for message in listening.listen() if message["type"] == "pmessage")

    assert heard == b"the end"
