"""How the outbox stands at this moment, in a few numbers for each stage."""

from dataclasses import dataclass

from sqlalchemy import Connection, Float, Table, cast, extract, func, select

from notify.domain.jobs import Stage
from notify.store.leases import DEAD
from notify.store.tables import email_jobs, events

TABLES = {Stage.FAN_OUT: (events, "working"), Stage.DELIVER: (email_jobs, "sending")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Rows of one stage. ``oldest_due_seconds`` is 0 when nothing is due; ``dead_last_day`` ended within a day."""

    due: int
    oldest_due_seconds: float
    in_flight: int
    dead_last_day: int


def read(connection: Connection) -> dict[Stage, Gauges]:
    """The numbers of both stages, one statement for each, over the rows that are not finished."""
    return {stage: _read(connection, table, held) for stage, (table, held) in TABLES.items()}


def _read(connection: Connection, table: Table, held: str) -> Gauges:
    row = table.c
    due = row.due_at <= func.now()
    waited = extract("epoch", func.now() - func.min(row.due_at).filter(due))
    yesterday = func.now() - func.make_interval(0, 0, 0, 1)
    dead = select(func.count()).where(row.status == DEAD, row.finished_at > yesterday).scalar_subquery()
    query = select(
        func.count().filter(due).label("due"),
        func.coalesce(cast(waited, Float), 0.0).label("oldest_due_seconds"),
        func.count().filter(row.status == held, ~due).label("in_flight"),
        dead.label("dead_last_day"),
    ).where(row.due_at.is_not(None))
    return Gauges(**connection.execute(query).mappings().one())
