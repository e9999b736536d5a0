"""What keeps the tables small: rows that are finished and old go, a small batch at a time."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select

from notify.store.tables import delivery_stats, email_jobs, events

KEPT: Mapping[str, timedelta] = MappingProxyType(
    {
        "sent": timedelta(days=14),
        "skipped": timedelta(days=14),
        "dead": timedelta(days=90),
        "expired": timedelta(days=90),
        "cancelled": timedelta(days=90),
    }
)
EVENTS_KEPT: Mapping[str, timedelta] = MappingProxyType({"done": timedelta(days=14), "dead": timedelta(days=90)})
STATS_KEPT = timedelta(days=90)


def prune_jobs(connection: Connection, *, limit: int) -> int:
    """
    Delete up to *limit* letters that ended long enough ago, with their tries; how many.

    A letter stays as long as any replay of it: without it, two replays would both be the letter itself.
    """
    replays = email_jobs.alias("replays")
    unreplayed = ~exists().where(replays.c.replay_of == email_jobs.c.id)
    return _prune(connection, email_jobs, _old(email_jobs, KEPT) & unreplayed, limit=limit)


def prune_events(connection: Connection, *, limit: int) -> int:
    """Delete up to *limit* events that ended long enough ago and have no letter left; how many."""
    childless = ~exists().where(email_jobs.c.event_id == events.c.id)
    return _prune(connection, events, _old(events, EVENTS_KEPT) & childless, limit=limit)


def prune_stats(connection: Connection) -> int:
    """Delete the counts of minutes long past; how many rows."""
    return connection.execute(delete(delivery_stats).where(delivery_stats.c.minute < func.now() - STATS_KEPT)).rowcount


def _old(table: Table, kept: Mapping[str, timedelta]) -> ColumnElement[bool]:
    shortest = min(kept.values())
    condition: ColumnElement[bool] = table.c.finished_at < func.now() - shortest
    for status, keep in kept.items():
        condition &= (table.c.status != status) | (table.c.finished_at < func.now() - keep)
    return condition


def _prune(connection: Connection, table: Table, old: ColumnElement[bool], *, limit: int) -> int:
    chosen = select(table.c.id).where(old).order_by(table.c.finished_at).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(delete(table).where(table.c.id.in_(chosen.cte("chosen").select()))).rowcount
