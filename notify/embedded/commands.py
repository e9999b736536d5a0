"""The commands of notify's processes. The embedded stack runs them; docker-compose.yml and deploy/ run the same."""

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
        line: The command line, with {placeholders}.
        health: The URL to probe, with {placeholders}; None: it is not probed.
        probe_seconds: Interval between probes, and the timeout of one.
        environment: Variables besides the settings.
        stop_seconds: How long it may take to end after *stop_signal*, before it is killed.
    """

    name: str
    line: str
    health: str | None = None
    probe_seconds: float = 5
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: Signals = SIGTERM
    stop_seconds: float = 5

    def argv(self, **facts: object) -> list[str]:
        """The arguments, with the running Python in place of ``python``."""
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
        # Read-only: workers cannot be stopped there. Old tasks and workers are forgotten.
        line="python -m celery -A notify.worker.app flower --address={flower_host} --port={flower_port}"
        " --read_only --max_tasks=10000 --purge_offline_workers=300"
        " --tasks_columns=name,state,result,received,runtime,worker,uuid",
        health="{flower_url}/healthcheck",
        # It has no login, so flower_guard.py restricts it to local host names.
        environment={"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_CONF": str(FLOWER_CONF)},
        # After SIGTERM or SIGINT, Flower 2.2 waits for a thread that never ends. It has nothing to lose.
        stop_signal=SIGQUIT,
    ),
    Command(
        name="worker",
        line="python -m notify.worker"
        " --queues notify.fan_out,notify.deliver,notify.inbox,notify.reconcile,notify.statuses,notify.heads"
        ",notify.webhooks,notify.upkeep"
        " --concurrency {worker_concurrency} -E --hostname {worker_name}",
        health="{worker_health_url}/livez",
        stop_seconds=10,
    ),
)
"""In the order in which they stop: first those that bring work in, last the worker."""

CATCHER = Command(
    name="catcher",
    line="python -m notify.embedded.catcher --host {catcher_host} --smtp-port {catcher_port}"
    " --inbox-port {inbox_port} --folder {emails}",
)
"""The embedded stack runs the catcher in a thread of the supervisor; elsewhere it is a process."""


def environment(settings: Settings) -> dict[str, str]:
    """Our environment with these settings in place of its own. Settings that are None are left out."""
    inherited = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return inherited | {PREFIX + name.upper(): value for name, value in as_text(settings).items()}
