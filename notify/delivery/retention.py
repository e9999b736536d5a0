"""Retention: what is finished and old goes, a small batch a transaction, so that no email waits behind it."""

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
# While emails are due pruning works a tenth of the time; the whole machine may be one core.
RESTS_PER_BATCH = 9


class TurnTaken(NotifyError):
    """Another process is pruning."""


@dataclass(slots=True)
class Pruned:
    """
    How many rows were deleted, and from how many events the text (``emptied``).

    ``elsewhere``: none, as another process is pruning; ``unfinished``: there may be more.
    """

    jobs: int = 0
    events: int = 0
    stats: int = 0
    emptied: int = 0
    elsewhere: bool = False
    unfinished: bool = False


class Pruning:
    """
    One run: emails, then events without emails, then the text of other events, then counts; made anew for each.

    What is deleted stays deleted whenever it stops, and the next run goes on from there.

    Args:
        batch: Rows that a transaction reads.
        at_most: How long it begins batches; None: until it is done.
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
        """Begin no further batch; from any thread."""
        self._stopped.set()

    def run(self) -> Pruned:
        """All of it at once."""
        for _ in self.batches():
            pass
        return self.pruned

    def batches(self) -> Generator[Pruned]:
        """How much was deleted so far, after each batch."""
        try:
            yield from self._batches()
        except TurnTaken:
            self.pruned.elsewhere = self.pruned == Pruned()
            self.pruned.unfinished = not self.pruned.elsewhere

    def _batches(self) -> Iterator[Pruned]:
        with self._turn() as connection:
            bundles.prune(connection)
        for batch in self._in_turn(upkeep.prune_jobs):
            self.pruned.jobs += batch.deleted
            yield self.pruned
        for batch in self._in_turn(upkeep.prune_events):
            self.pruned.events += batch.deleted
            yield self.pruned
        for batch in self._in_turn(upkeep.empty_events):
            self.pruned.emptied += batch.deleted
            yield self.pruned
        with self._turn() as connection:
            self.pruned.stats = upkeep.prune_stats(connection, self._kept)
        yield self.pruned

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """
        A transaction in which no other process prunes.

        Raises:
            TurnTaken: Another process does.
        """
        with self._database.begin() as connection:
            if not upkeep.try_lock(connection):
                raise TurnTaken
            yield connection

    def _in_turn(self, prune: Callable[..., Batch]) -> Iterator[Batch]:
        reached = 0
        while monotonic() < self._ends and not self._stopped.is_set():
            began = monotonic()
            with self._turn() as connection:
                batch = prune(connection, self._kept, limit=self._batch, after=reached)
            worked, reached = monotonic() - began, batch.last_id
            if batch.deleted:
                yield batch
            if batch.read < self._batch:
                return
            with self._database.read() as connection:
                is_due = items.is_due(connection, DELIVER)
            self._stopped.wait(RESTS_PER_BATCH * worked if is_due else 0.0)
        self.pruned.unfinished = True
