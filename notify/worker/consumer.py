"""A Celery consumer that survives brokers that answer with errors."""

from time import monotonic, sleep
from typing import Any

from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
# A broker whose connection lasts less than this has not recovered.
STABLE_SECONDS = 60
SHUTDOWN_POLL_SECONDS = 0.2


class OneAttemptDispatcher(EventDispatcher):  # type: ignore[misc]  # Celery is not typed
    """
    Sends events to Flower, with a single attempt each.

    Celery retries a heartbeat that the broker refuses forever, in the consuming thread: the worker would neither
    notice the outage nor stop.
    """

    def send(self, type: str, **kwargs: Any) -> Any:  # noqa: A002, ANN401 - the arguments are Celery's own
        return super().send(type, **{**kwargs, "retry": False})


class PatientConsumer(Consumer):  # type: ignore[misc]  # Celery is not typed
    """
    A consumer that treats error answers as an outage.

    A broker that has become a replica, lacks replicas, cannot write its snapshot, is full or refuses a command still
    accepts connections and then answers READONLY, NOREPLICAS, MISCONF, OOM or NOPERM. With
    ``broker_channel_error_retry`` Celery reconnects instead of ending the worker and its sweeper, but immediately and
    forever. Here the pauses grow while connections do not last.

    It does not mingle: Celery asks the other workers for revoked tasks and waits a second for their answers each time
    that it connects, but nobody revokes a doorbell.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments are Celery's own
        super().__init__(*args, **kwargs, without_mingle=True)
        self.app.events.dispatcher_cls = OneAttemptDispatcher
        # kombu raises OperationalError if it cannot reconnect.
        self.connection_errors: tuple[type[Exception], ...] = (*self.conninfo.connection_errors, OperationalError)
        self._connected_at: float | None = None
        self._pause = 0.0

    def connect(self) -> Any:  # noqa: ANN401 - a connection of kombu, which is not typed
        """Connect, after a pause if the last connection did not last."""
        if self._connected_at is not None:
            lasted = monotonic() - self._connected_at > STABLE_SECONDS
            self._pause = 0.0 if lasted else min(MAX_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * self._pause))
            _wait(self._pause)
        self._connected_at = monotonic()  # a failed attempt counts as a short connection
        connection = super().connect()
        self._connected_at = monotonic()
        return connection


def _wait(seconds: float) -> None:
    """Wait; raises WorkerShutdown if the worker has to stop."""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        sleep(min(left, SHUTDOWN_POLL_SECONDS))
        maybe_shutdown()
