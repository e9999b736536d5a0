"""How the sessions with a relay are shared among worker processes, by the database's clock."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from notify.domain.rates import SessionUsage, allowed_sessions
from notify.store.tables.operations import relay_shares

_row = relay_shares.c


def request(
    connection: Connection,
    relay: str,
    worker: UUID,
    *,
    cap: int,
    mine: SessionUsage,
    duration: timedelta,
) -> int:
    """
    How many sessions this process may open for *duration*, unless it asks again.

    Sessions it still has count as its own until it asks with fewer, so that all together never exceed *cap*.
    """
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"notify relay_shares {relay}", 0))))
    others = [
        SessionUsage(wanted=row.wanted, sessions=row.sessions)
        for row in connection.execute(
            select(_row.wanted, _row.sessions).where(
                _row.relay == relay, _row.worker != worker, _row.until > func.clock_timestamp()
            )
        )
    ]
    granted = allowed_sessions(cap, mine=mine, others=others)
    kept = max(granted, mine.sessions)
    if kept == 0 and mine.is_idle:
        release(connection, relay, worker)
        return 0
    values = {"wanted": max(1, mine.wanted), "sessions": kept, "until": func.clock_timestamp() + duration}
    statement = insert(relay_shares).values(relay=relay, worker=worker, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[_row.relay, _row.worker], set_=values))
    return granted


def release(connection: Connection, relay: str, worker: UUID) -> None:
    """Delete the share of a process without sessions, and expired shares."""
    over = (_row.worker == worker) | (_row.until <= func.now())
    connection.execute(delete(relay_shares).where(_row.relay == relay, over))


def sessions(connection: Connection) -> Mapping[str, int]:
    """How many sessions all workers together may have now, by relay."""
    statement = select(_row.relay, func.sum(_row.sessions)).where(_row.until > func.now()).group_by(_row.relay)
    return {relay: int(sessions) for relay, sessions in connection.execute(statement)}
