"""The Celery tasks. A message is only a doorbell; the work is in the table."""

from collections.abc import Sequence
from dataclasses import asdict
from time import sleep
from typing import Any

from celery import Task
from celery.exceptions import Reject
from celery.worker.request import Request

from notify.domain.stages import queue
from notify.store.database import UNAVAILABLE
from notify.wiring import STAGE_NAMES
from notify.worker.app import app
from notify.worker.bootstrap import runtime

DATABASE_PAUSE_SECONDS = 1


class StageRequest(Request):  # type: ignore[misc]  # Celery is not typed
    """
    A request that ignores the time limits in its message.

    Otherwise anybody who can write to the broker could kill a worker process with a hard limit of a millisecond. Our
    own limits are in ``celeryconfig``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments are Celery's own
        super().__init__(*args, **kwargs)
        self.time_limits = (None, None)


class StageTask(Task):  # type: ignore[misc]  # Celery is not typed
    Request = StageRequest


def _task_of(stage: str) -> None:
    def drain() -> dict[str, Any]:
        return runtime().drain(stage)

    app.task(drain, base=StageTask, name=queue(stage))


for name in STAGE_NAMES:
    _task_of(name)


@app.task(base=StageTask, name="notify.receive", acks_late=True, reject_on_worker_lost=True)
def receive(events: Sequence[object]) -> dict[str, Any]:
    """
    Store events sent over the broker, which are as durable as the broker.

    While the database is unavailable, the message goes back to its queue. One malformed event refuses the whole
    message, and the task fails with the field and the reason.
    """
    try:
        return runtime().receive(events)
    except UNAVAILABLE as away:
        sleep(DATABASE_PAUSE_SECONDS)
        raise Reject(type(away).__name__, requeue=True) from away


@app.task(base=StageTask, name="notify.upkeep.prune")
def prune() -> dict[str, Any]:
    return asdict(runtime().prune())


@app.task(base=StageTask, name="notify.upkeep.redeliver")
def redeliver() -> dict[str, Any]:
    """Ask every forge for webhook deliveries that did not arrive; how many of each, or why not."""
    return runtime().redeliver()


@app.task(base=StageTask, name="notify.upkeep.stats")
def stats() -> dict[str, Any]:
    """The backlog of each stage, to be read in Flower."""
    return runtime().gauges()
