"""How a worker starts, and what Celery's commands print when notify cannot run."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import redis

from tests.support import fork_server
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
    environment: Mapping[str, str], command: str, tmp_path: Path
) -> None:
    without = {name: value for name, value in environment.items() if name != "NOTIFY_BROKER_URL"}
    started = fork_server.start(*command.split(), environment=without, log=tmp_path / "log")

    assert started.wait(60) != 0
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.count("NOTIFY_BROKER_URL is not set") == 1


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
