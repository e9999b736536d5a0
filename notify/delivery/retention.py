"""Retention: what is finished and old goes, a small batch a transaction, so that nobody waits behind it."""

from collections.abc import Callable
from dataclasses import dataclass

from notify.store import groups, upkeep
from notify.store.database import Database

BATCH = 1_000


@dataclass(slots=True)
class Pruned:
    """How many rows went."""

    jobs: int = 0
    events: int = 0
    stats: int = 0


def prune(database: Database, *, batch: int = BATCH) -> Pruned:
    """
    Delete letters, then events that have none left, then counts. May run twice at once.

    Letters that wait for one that has ended without them are let go first.
    """
    pruned = Pruned()
    with database.begin() as connection:
        groups.free_orphans(connection)
        groups.prune(connection)
    while gone := _one_batch(database, upkeep.prune_jobs, batch):
        pruned.jobs += gone
    while gone := _one_batch(database, upkeep.prune_events, batch):
        pruned.events += gone
    with database.begin() as connection:
        pruned.stats = upkeep.prune_stats(connection)
    return pruned


def _one_batch(database: Database, delete: Callable[..., int], batch: int) -> int:
    with database.begin() as connection:
        return delete(connection, limit=batch)
