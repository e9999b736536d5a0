"""
Counts of outcomes: by minute for people to look at, and as totals that never fall.

*Decided*: workers count into rows of their own minute, so that none waits for another. Once nobody can
count into a minute any more, it is folded into ``delivery_totals``, which says up to when it has counted;
the total is what is there and the minutes since. *Rejected*: totals that every flush adds to: all workers
would wait for one row.
"""

from collections import Counter
from datetime import timedelta
from json import dumps
from uuid import UUID

from sqlalchemy import Connection, DateTime, Integer, Text, Uuid, bindparam, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert

from notify.store.records import records
from notify.store.tables.operations import delivery_stats, delivery_totals

# Longer than any transaction that counts can last.
SETTLED = timedelta(minutes=15)
ONE_FOLD_AT_A_TIME = 0x666F6C64

_stats, _totals = delivery_stats.c, delivery_totals.c
_minute = func.date_trunc("minute", func.now())
_counts = records("counts", event_type=Text, outcome=Text, count=Integer)

_insertion = insert(delivery_stats).from_select(
    ["minute", "worker", "event_type", "outcome", "count"],
    select(_minute, bindparam("worker", type_=Uuid), _counts.c.event_type, _counts.c.outcome, _counts.c["count"]),
)
_COUNT = _insertion.on_conflict_do_update(
    index_elements=list(delivery_stats.primary_key.columns),
    set_={"count": _stats["count"] + _insertion.excluded["count"]},
)
_ever = literal("-infinity", DateTime(timezone=True))
_counted_until = select(func.coalesce(func.max(_totals.until), _ever)).scalar_subquery()
_summed = (
    select(_stats.event_type, _stats.outcome, func.sum(_stats["count"]).label("count"))
    .where(_stats.minute >= _counted_until)
    .group_by(_stats.event_type, _stats.outcome)
)
_READ = union_all(select(_totals.event_type, _totals.outcome, _totals["count"]), _summed)
_folding = insert(delivery_totals).from_select(
    ["event_type", "outcome", "count", "until"],
    _summed.add_columns(_minute - SETTLED).where(_stats.minute < _minute - SETTLED),
)
_FOLD = _folding.on_conflict_do_update(
    index_elements=list(delivery_totals.primary_key.columns),
    set_={"count": _totals["count"] + _folding.excluded["count"], "until": _folding.excluded.until},
)


def count(connection: Connection, *, worker: UUID, counts: Counter[tuple[str, str]]) -> None:
    """Add these counts, by event type and outcome, to the present minute of this worker."""
    if not counts:
        return
    rows = [{"event_type": type_, "outcome": outcome, "count": n} for (type_, outcome), n in counts.items()]
    connection.execute(_COUNT, {"counts": dumps(rows), "worker": worker})


def totals(connection: Connection) -> Counter[tuple[str, str]]:
    """How often each outcome was counted since the beginning, by event type and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for event_type, outcome, counted in connection.execute(_READ):
        found[event_type, outcome] += int(counted)
    return found


def fold(connection: Connection) -> None:
    """Add the minutes that nobody counts into any more to the totals; before they may be pruned. Safe to repeat."""
    connection.execute(select(func.pg_advisory_xact_lock(ONE_FOLD_AT_A_TIME)))
    connection.execute(_FOLD)
