"""Doorbells over Celery: sent by a background thread, coalesced, with one attempt and short timeouts."""

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

# The standard library's logger, because an application that emits has its own logging; structlog would print.
log = getLogger(__name__)


class CeleryDoorbell:
    """
    Sends the empty Celery messages that wake the workers of a stage.

    Rings for a stage within 50 ms become one message, sent after the last of them. A ring that the broker refuses is
    counted and dropped. Safe to use after a fork.

    Args:
        delay_seconds: How long the first ring for a stage waits for others.
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
            if stage in self._wanted:  # the thread knows, and need not wake up for each ring
                return
            self._wanted[stage] = max(monotonic() + self._delay, self._next.get(stage, 0.0))
            if self._thread is None:
                self._thread = Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, *, at_most_seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted and not self._sending, at_most_seconds)

    def _begin_again_after_fork(self) -> None:
        """The thread exists only in the parent, which may have held the lock."""
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
        except Exception as error:  # noqa: BLE001 - whatever happened, the row is in the table
            self._count(Measure.DOORBELL_FAILED, stage)
            log.warning("doorbell.failed: %s for %s", type(error).__name__, stage)
        else:
            self._count(Measure.DOORBELL_SENT, stage)


class NoDoorbell:
    """Sends nothing; workers find the rows by sweeping, within seconds."""

    def ring(self, stage: str) -> None:
        """Do nothing."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Nothing to wait for."""
