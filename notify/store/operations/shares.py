"""Which worker process may have how many sessions with a relay, by the database's clock."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from notify.domain.rates import Claimant, share
from notify.store.tables.operations import relay_shares

_row = relay_shares.c


def ask(
    connection: Connection,
    relay: str,
    worker: UUID,
    *,
    cap: int,
    mine: Claimant,
    lasts: timedelta,
) -> int:
    """
    How many sessions this process may have for as long as *lasts*, unless it asks again.

    What it still has counts as its own until it has asked with less, so that all together never have more than *cap*.
    """
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"notify relay_shares {relay}", 0))))
    others = [
        Claimant(wanted=row.wanted, sessions=row.sessions)
        for row in connection.execute(
            select(_row.wanted, _row.sessions).where(
                _row.relay == relay, _row.worker != worker, _row.until > func.clock_timestamp()
            )
        )
    ]
    granted = share(cap, mine=mine, others=others)
    kept = max(granted, mine.sessions)
    if kept == 0 and mine.is_idle:
        give_back(connection, relay, worker)
        return 0
    values = {"wanted": max(1, mine.wanted), "sessions": kept, "until": func.clock_timestamp() + lasts}
    statement = insert(relay_shares).values(relay=relay, worker=worker, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[_row.relay, _row.worker], set_=values))
    return granted


def give_back(connection: Connection, relay: str, worker: UUID) -> None:
    """Forget the share of a process that has no session any more, and those of processes that vanished."""
    over = (_row.worker == worker) | (_row.until <= func.now())
    connection.execute(delete(relay_shares).where(_row.relay == relay, over))


def sessions(connection: Connection) -> Mapping[str, int]:
    """How many sessions all worker processes together may have now, by relay."""
    statement = select(_row.relay, func.sum(_row.sessions)).where(_row.until > func.now()).group_by(_row.relay)
    return {relay: int(sessions) for relay, sessions in connection.execute(statement)}
