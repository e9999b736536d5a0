"""Celery's consumer for brokers that answer with an error instead of falling silent."""

from time import monotonic, sleep
from typing import Any

from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# A broker whose connection lasts less than this is not well yet.
WELL_SECONDS = 60
LOOK_FOR_SHUTDOWN_SECONDS = 0.2


class OneAttemptDispatcher(EventDispatcher):  # type: ignore[misc]  # Celery is not typed
    """
    What tells Flower about the worker, with one attempt each time.

    Celery repeats a heartbeat that the broker refuses without end, in the thread that consumes: the worker would
    neither notice that its broker is away nor stop.
    """

    def send(self, type: str, **kwargs: Any) -> Any:  # noqa: A002, ANN401 - the arguments are Celery's own
        return super().send(type, **{**kwargs, "retry": False})


class PatientConsumer(Consumer):  # type: ignore[misc]  # Celery is not typed
    """
    A consumer that treats an error as an outage, like silence.

    A broker that has become a replica, misses its replicas, cannot write its snapshot, is full or refuses us a
    command still takes connections, and answers READONLY, NOREPLICAS, MISCONF, OOM or NOPERM later. With
    ``broker_channel_error_retry`` Celery connects again instead of ending the worker, and with it the sweeper, but
    at once and without end. Here the pauses grow while connections do not last.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments are Celery's own
        super().__init__(*args, **kwargs)
        self.app.events.dispatcher_cls = OneAttemptDispatcher
        # What kombu raises when the connection that it wants to use is gone and cannot be made again.
        self.connection_errors: tuple[type[Exception], ...] = (*self.conninfo.connection_errors, OperationalError)
        self._connected_at: float | None = None
        self._pause = 0.0

    def connect(self) -> Any:  # noqa: ANN401 - a connection of kombu, which is not typed
        """Connect, after a pause if the last connection did not last."""
        if self._connected_at is not None:
            lasted = monotonic() - self._connected_at > WELL_SECONDS
            self._pause = 0.0 if lasted else min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * self._pause))
            _wait(self._pause)
        self._connected_at = monotonic()  # one that cannot be made does not last either
        connection = super().connect()
        self._connected_at = monotonic()
        return connection


def _wait(seconds: float) -> None:
    """Wait; WorkerShutdown is raised if the worker has to stop."""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        sleep(min(left, LOOK_FOR_SHUTDOWN_SECONDS))
        maybe_shutdown()
