"""Counts of outcomes by minute, and the few numbers that say how the outbox stands."""

from collections import Counter
from json import dumps
from uuid import UUID

from sqlalchemy import Connection, Integer, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from notify.store.records import records
from notify.store.tables import delivery_stats

_counts = records("counts", event_type=Text, outcome=Text, count=Integer)


_insertion = insert(delivery_stats).from_select(
    ["minute", "worker", "event_type", "outcome", "count"],
    select(
        func.date_trunc("minute", func.now()),
        bindparam("worker", type_=Uuid),
        _counts.c.event_type,
        _counts.c.outcome,
        _counts.c["count"],
    ),
)
_COUNT = _insertion.on_conflict_do_update(
    index_elements=list(delivery_stats.primary_key.columns),
    set_={"count": delivery_stats.c["count"] + _insertion.excluded["count"]},
)


def count(connection: Connection, *, worker: UUID, counts: Counter[tuple[str, str]]) -> None:
    """Add these counts, by event type and outcome, to the present minute of this worker."""
    if not counts:
        return
    rows = [{"event_type": type_, "outcome": outcome, "count": n} for (type_, outcome), n in counts.items()]
    connection.execute(_COUNT, {"counts": dumps(rows), "worker": worker})
