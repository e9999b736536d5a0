"""The sweeper: threads that find due work without doorbells, so that emails are sent while the broker is down."""

from collections.abc import Sequence
from random import Random
from threading import Event, Thread
from time import monotonic

import structlog

from notify.domain.measures import Count, Measure, no_count
from notify.domain.ports import Promise, no_heartbeat
from notify.work.stage import Stage

# The longest waits of one query: for a pooled connection, for the server, for its answer, twice.
LONGEST_QUERY_SECONDS = 150
# As long as a task may take; a drain that makes progress renews the promise itself.
LONGEST_WORK_SECONDS = 960

log = structlog.get_logger(__name__)


class Sweeper:
    """
    Asks each stage about every *seconds* whether anything is due, and drains it then.

    Each stage has its own thread, so that a hanging mail server delays no event. The interval varies by a third, so
    that processes do not ask at the same time. Errors of a stage are logged, and sweeping continues.

    Args:
        promise: Called before each query and before each drain.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        seconds: float,
        rng: Random,
        count: Count = no_count,
        promise: Promise = no_heartbeat,
    ) -> None:
        self._seconds = seconds
        self._rng = rng
        self._count = count
        self._promise = promise
        self._stages = stages
        self._stopping = False
        self._awake = {stage.name: Event() for stage in stages}
        self._threads = [
            Thread(target=self._sweep, args=(stage,), name=f"sweeper-{stage.name}", daemon=True) for stage in stages
        ]

    def start(self) -> None:
        for stage in self._stages:
            self._promise_a_query(stage)
        for thread in self._threads:
            thread.start()

    def wake(self, name: str) -> None:
        """Drain this stage now, if this sweeper has it. From any thread."""
        if name in self._awake:
            self._awake[name].set()

    def stop(self, *, timeout_seconds: float) -> None:
        """Stop sweeping; wait up to *timeout_seconds* for drains to end."""
        self._stopping = True
        for awake in self._awake.values():
            awake.set()
        ends = monotonic() + timeout_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, ends - monotonic()))

    def _sweep(self, stage: Stage) -> None:
        awake = self._awake[stage.name]
        while True:
            woken = awake.wait(self._seconds * self._rng.uniform(2 / 3, 4 / 3))
            awake.clear()
            if self._stopping:
                return
            self._drain_if_due(stage, woken=woken)
            self._promise_a_query(stage)

    def _promise_a_query(self, stage: Stage) -> None:
        self._promise(stage.name, 2 * self._seconds + LONGEST_QUERY_SECONDS)

    def _is_due(self, stage: Stage) -> bool:
        found = stage.is_due()
        self._count(Measure.SWEEP, stage.name)
        if found:
            self._count(Measure.SWEEP_FOUND, stage.name)
        return found

    def _drain_if_due(self, stage: Stage, *, woken: bool) -> None:
        try:
            if woken or self._is_due(stage):
                self._promise(stage.name, LONGEST_WORK_SECONDS)
                stage.drain()
        except Exception as error:  # noqa: BLE001 - a sweep that fails must not be the last
            log.warning("sweep.failed", stage=stage.name, error=type(error).__name__)
