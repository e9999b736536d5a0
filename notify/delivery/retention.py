"""Retention: deletes old finished rows in small transactions, so that no email waits."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from time import monotonic

from sqlalchemy import Connection

from notify.domain.errors import NotifyError
from notify.domain.retention import RetentionPeriods
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.operations.upkeep import Batch
from notify.store.outbox import bundles, items

BATCH = 1_000
# While emails are due, pruning works a tenth of the time: the machine may have a single core.
PAUSES_PER_BATCH = 9


class AlreadyPruning(NotifyError):
    """Another process is pruning."""


@dataclass(slots=True)
class Pruned:
    """
    How many rows were deleted, and how many events lost their payload (``emptied``).

    ``elsewhere``: nothing was done because another process is pruning; ``unfinished``: there may be more.
    """

    jobs: int = 0
    events: int = 0
    deliveries: int = 0
    logins: int = 0
    statuses: int = 0
    calls: int = 0
    requests: int = 0
    stats: int = 0
    emptied: int = 0
    elsewhere: bool = False
    unfinished: bool = False


class Pruning:
    """
    One run: deletes emails, events without emails, webhook deliveries, statuses, webhook calls, requests, the payload
    of other events, and counts, also those of logins without a person.

    Use each object once.

    Safe to stop at any time; the next run continues.

    Args:
        batch: Rows that a transaction reads.
        at_most: For how long to start batches; None: until done.
    """

    def __init__(
        self, database: Database, kept: RetentionPeriods, *, batch: int = BATCH, at_most: timedelta | None = None
    ) -> None:
        self.pruned = Pruned()
        self._database = database
        self._kept = kept
        self._batch = batch
        self._ends = float("inf") if at_most is None else monotonic() + at_most.total_seconds()
        self._stopped = Event()

    def stop(self) -> None:
        """Start no further batch. From any thread."""
        self._stopped.set()

    def run(self) -> Pruned:
        """Run all batches."""
        for _ in self.batches():
            pass
        return self.pruned

    def batches(self) -> Generator[Pruned]:
        """Yields the counts so far after each batch."""
        try:
            yield from self._batches()
        except AlreadyPruning:
            self.pruned.elsewhere = self.pruned == Pruned()
            self.pruned.unfinished = not self.pruned.elsewhere

    def _batches(self) -> Iterator[Pruned]:
        with self._transaction() as connection:
            bundles.prune(connection)
        for batch in self._run_batches(upkeep.prune_jobs):
            self.pruned.jobs += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.prune_events):
            self.pruned.events += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.prune_deliveries):
            self.pruned.deliveries += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.prune_statuses):
            self.pruned.statuses += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.prune_calls):
            self.pruned.calls += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.prune_requests):
            self.pruned.requests += batch.deleted
            yield self.pruned
        for batch in self._run_batches(upkeep.empty_events):
            self.pruned.emptied += batch.deleted
            yield self.pruned
        with self._transaction() as connection:
            self.pruned.logins = upkeep.prune_logins(connection, self._kept)
            self.pruned.stats = upkeep.prune_stats(connection, self._kept)
        yield self.pruned

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """
        A transaction that excludes other pruning processes.

        Raises:
            AlreadyPruning: Another process is pruning.
        """
        with self._database.begin() as connection:
            if not upkeep.try_lock(connection):
                raise AlreadyPruning
            yield connection

    def _run_batches(self, prune: Callable[..., Batch]) -> Iterator[Batch]:
        reached = 0
        while monotonic() < self._ends and not self._stopped.is_set():
            began = monotonic()
            with self._transaction() as connection:
                batch = prune(connection, self._kept, limit=self._batch, after=reached)
            worked, reached = monotonic() - began, batch.last_id
            if batch.deleted:
                yield batch
            if batch.read < self._batch:
                return
            with self._database.single() as connection:
                is_due = items.is_due(connection, DELIVER)
            self._stopped.wait(PAUSES_PER_BATCH * worked if is_due else 0.0)
        self.pruned.unfinished = True
