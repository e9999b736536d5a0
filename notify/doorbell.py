"""Doorbells over Celery: rung from a thread of their own, coalesced, with one attempt and short time-outs."""

import os
from logging import getLogger
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING

from notify.domain.measures import Count, Measure, no_count
from notify.domain.stages import queue

if TYPE_CHECKING:
    from celery import Celery

COALESCE_SECONDS = 0.05
EXPIRES_SECONDS = 300

# The standard library's: an application that emits has set up its own logs, and structlog's default is its output.
log = getLogger(__name__)


class CeleryDoorbell:
    """
    Sends the empty Celery messages that call the workers of a stage.

    Rings of one stage that come within 50 ms are one message, and the last of them is always
    followed by a message. A ring that the broker does not take is counted and forgotten.
    Survives a fork.

    Args:
        delay_seconds: How long the first ring of a stage waits for others.
    """

    def __init__(self, app: "Celery", *, count: Count = no_count, delay_seconds: float = 0.0) -> None:
        self._app = app
        self._count = count
        self._delay = delay_seconds
        self._owner = os.getpid()
        self._changed = Condition()
        self._wanted: dict[str, float] = {}
        self._next: dict[str, float] = {}
        self._thread: Thread | None = None
        self._sending = False

    def ring(self, stage: str) -> None:
        self._begin_again_after_fork()
        with self._changed:
            self._wanted.setdefault(stage, max(monotonic() + self._delay, self._next.get(stage, 0.0)))
            if self._thread is None:
                self._thread = Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, *, at_most_seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted and not self._sending, at_most_seconds)

    def _begin_again_after_fork(self) -> None:
        """The thread stayed with the parent, and the lock may have been held there."""
        if self._owner != os.getpid():
            self._owner, self._changed, self._thread = os.getpid(), Condition(), None
            self._wanted, self._next, self._sending = {}, {}, False

    def _run(self) -> None:
        while True:
            self._send(self._await_due())
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _await_due(self) -> str:
        with self._changed:
            while True:
                now = monotonic()
                due = [stage for stage, at in self._wanted.items() if at <= now]
                if due:
                    del self._wanted[due[0]]
                    self._next[due[0]] = now + COALESCE_SECONDS
                    self._sending = True
                    return due[0]
                self._changed.wait(min(self._wanted.values()) - now if self._wanted else None)

    def _send(self, stage: str) -> None:
        try:
            self._app.send_task(queue(stage), queue=queue(stage), expires=EXPIRES_SECONDS, retry=False)
        except Exception as error:  # noqa: BLE001 - whatever the broker does, the table has the row
            self._count(Measure.DOORBELL_FAILED, stage)
            log.warning("doorbell.failed: %s for %s", type(error).__name__, stage)
        else:
            self._count(Measure.DOORBELL_SENT, stage)


class NoDoorbell:
    """Rings nothing: workers find the rows by sweeping, within seconds."""

    def ring(self, stage: str) -> None:
        """Do nothing."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Nothing to wait for."""
