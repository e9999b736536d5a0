"""What Celery's commands print when notify cannot run."""

from collections.abc import Mapping
from subprocess import run
from sys import executable

import pytest


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
