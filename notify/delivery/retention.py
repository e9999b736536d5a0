"""Retention: what is finished and old goes, a small batch a transaction, so that no email waits behind it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from time import monotonic

from sqlalchemy import Connection

from notify.domain.errors import NotifyError
from notify.domain.retention import Kept, Look, rest
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.operations.upkeep import Batch
from notify.store.outbox import bundles, items

BATCH = 1_000

Prune = Callable[..., Batch]


class TurnTaken(NotifyError):
    """Somebody else deletes at this moment."""


@dataclass(slots=True)
class Pruned:
    """
    How many rows went, and of how many events the words (``emptied``).

    ``elsewhere``: none, as somebody else is at it; ``unfinished``: there may be more, perhaps left to somebody else.
    """

    jobs: int = 0
    events: int = 0
    stats: int = 0
    emptied: int = 0
    elsewhere: bool = False
    unfinished: bool = False


class Pruning:
    """
    One run: emails, then events that none tells of, then the words of others, then counts; made anew for each.

    What is deleted stays deleted whenever it stops, and the next run goes on from there.

    Args:
        batch: Rows that a transaction looks at; between two it rests as ``domain.retention`` says.
        at_most: It begins no batch after that; None: it takes as long as it takes.
    """

    def __init__(self, database: Database, kept: Kept, *, batch: int = BATCH, at_most: timedelta | None = None) -> None:
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
        """How much went so far, after each batch."""
        try:
            yield from self._batches()
        except TurnTaken:
            self.pruned.elsewhere = self.pruned == Pruned()
            self.pruned.unfinished = not self.pruned.elsewhere

    def _batches(self) -> Iterator[Pruned]:
        with self._turn() as connection:
            bundles.prune(connection)
            usual = _look(connection).seconds
        for batch in self._in_turn(upkeep.prune_jobs, usual=usual):
            self.pruned.jobs += batch.gone
            yield self.pruned
        for batch in self._in_turn(upkeep.prune_events, usual=usual):
            self.pruned.events += batch.gone
            yield self.pruned
        for batch in self._in_turn(upkeep.empty_events, usual=usual):
            self.pruned.emptied += batch.gone
            yield self.pruned
        with self._turn() as connection:
            self.pruned.stats = upkeep.prune_stats(connection, self._kept)
        yield self.pruned

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """
        A transaction in which nobody else deletes.

        Raises:
            TurnTaken: Somebody else does.
        """
        with self._database.begin() as connection:
            if not upkeep.take_turn(connection):
                raise TurnTaken
            yield connection

    def _in_turn(self, prune: Prune, *, usual: float) -> Iterator[Batch]:
        reached = 0
        while self._may_go_on():
            began = monotonic()
            with self._turn() as connection:
                batch = prune(connection, self._kept, limit=self._batch, after=reached)
            worked, reached = monotonic() - began, batch.reached
            if batch.gone:
                yield batch
            if batch.seen < self._batch:
                return
            with self._database.begin() as connection:
                now = _look(connection)
            self._stopped.wait(rest(worked, now=now, usual_seconds=usual))
        self.pruned.unfinished = True

    def _may_go_on(self) -> bool:
        return monotonic() < self._ends and not self._stopped.is_set()


def _look(connection: Connection) -> Look:
    began = monotonic()
    due = items.is_due(connection, DELIVER)
    return Look(seconds=monotonic() - began, due=due)
