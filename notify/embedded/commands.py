"""The processes of notify as commands: what the embedded stack runs, and what docker-compose.yml must run."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from signal import SIGQUIT, SIGTERM, Signals

from notify.embedded.completion import as_text
from notify.settings import PREFIX, Settings

FLOWER_CONF = Path(__file__).with_name("flower_guard.py")


@dataclass(frozen=True, slots=True)
class Command:
    """
    A process of notify.

    Attributes:
        line: What starts it, with {names} to be filled in.
        health: The URL that answers while it does well, with {names} too; None if there is none.
        probe_seconds: How often it is asked, and how long an answer may take.
        environment: What it needs besides the settings.
        stop_seconds: How long it has to end by itself after *stop_signal*.
    """

    name: str
    line: str
    health: str | None = None
    probe_seconds: float = 5
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: Signals = SIGTERM
    stop_seconds: float = 5

    def argv(self, **facts: object) -> list[str]:
        """The command as arguments, run by the Python that runs us."""
        _, *rest = (part.format(**facts) for part in self.line.split())
        return [sys.executable, *rest]


COMMANDS = (
    Command(
        name="api",
        line="python -m uvicorn notify.api.app:create_app --factory --http notify.api.connections:Connection"
        " --host {api_host} --port {api_port} --no-access-log",
        health="{api_url}/livez",
    ),
    Command(name="beat", line="python -m celery -A notify.worker.app beat --schedule {beat_schedule}"),
    Command(
        name="flower",
        # It watches: nothing can be stopped there, it forgets old tasks and workers, and shows what tasks returned.
        line="python -m celery -A notify.worker.app flower --address={flower_host} --port={flower_port}"
        " --read_only --max_tasks=10000 --purge_offline_workers=300"
        " --tasks_columns=name,state,result,received,runtime,worker,uuid",
        health="{flower_url}/healthcheck",
        # It asks nobody who is there, so it answers to local names only.
        environment={"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_CONF": str(FLOWER_CONF)},
        # After SIGTERM and SIGINT Flower 2.2 waits for a thread that does not end. It has nothing to lose.
        stop_signal=SIGQUIT,
    ),
    Command(
        name="worker",
        line="python -m notify.worker --queues notify.fan_out,notify.deliver,notify.upkeep"
        " --concurrency {worker_concurrency} -E --hostname {worker_name}",
        health="{worker_health_url}/livez",
        stop_seconds=10,
    ),
)
"""In the order in which they stop: first what brings work in, last what does it."""

CATCHER = Command(
    name="catcher",
    line="python -m notify.embedded.catcher --host {catcher_host} --smtp-port {catcher_port}"
    " --inbox-port {inbox_port} --folder {emails}",
)
"""The embedded stack has the catcher in its own process; elsewhere it is one by itself."""


def environment(settings: Settings) -> dict[str, str]:
    """Our environment with its settings replaced by these, complete but for what is None."""
    inherited = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return inherited | {PREFIX + name.upper(): value for name, value in as_text(settings).items()}
