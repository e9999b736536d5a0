"""Restricts remote-control commands to those that only read, unless an operator allows more."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from celery.worker.control import Panel, hello

REFUSED = "refused: commands that change a worker need NOTIFY_WORKER_REMOTE_CONTROL=true where it runs"
READING = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "hello",
        "ping",
        "query_task",
        "registered",
        "report",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
    }
)
# Flower asks every worker for its events and its heartbeat.
SIGNALLING = frozenset({"enable_events", "heartbeat"})

log = structlog.get_logger(__name__)


def refuse_changes() -> None:
    """
    Refuse every command that could change this worker, including those of later versions of Celery.

    Anybody who can write to the broker can send commands: stop a worker, remove its queues, limit or kill its tasks.
    ``hello`` is answered, but its list of revoked tasks is ignored.
    """
    for name, command in Panel.meta.items():
        if name not in READING | SIGNALLING:
            for known_as in filter(None, (name, command.alias)):
                Panel.data[known_as] = partial(_refuse, name)
    Panel.data["hello"] = _greet


def _refuse(name: str, _state: object, **_: object) -> Mapping[str, str]:
    log.warning("control.refused", command=name)
    return {"error": REFUSED}


def _greet(state: Any, from_node: str, **_: object) -> object:  # noqa: ANN401 - Celery's own, which is not typed
    return hello(state, from_node)
