"""Tasks whose limits are ours, whoever sends them."""

from typing import Any

from celery import Task
from celery.worker.request import Request


class OurRequest(Request):  # type: ignore[misc]  # Celery is not typed
    """
    A request without the time limits that its message asks for.

    Whoever can write to the broker could otherwise have a worker's process killed in the middle of its work: a hard
    limit of a millisecond does that. Our own are in ``celeryconfig``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments are Celery's own
        super().__init__(*args, **kwargs)
        self.time_limits = (None, None)


class OurTask(Task):  # type: ignore[misc]  # Celery is not typed
    """A task of notify."""

    Request = f"{OurRequest.__module__}:{OurRequest.__qualname__}"
