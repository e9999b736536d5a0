"""
What processes count that no other row tells, as running totals: a few rows for each process that lives.

*Decided*: a process adds to rows of its own, so that none waits for another; when it has been silent
for an hour, its rows are folded into those of the processes that are gone. Totals never fall.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from json import dumps
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Float, Text, Uuid, bindparam, delete, func, literal, select
from sqlalchemy.dialects.postgresql import Insert, insert

from notify.domain.measures import Measure
from notify.store.records import records
from notify.store.tables.operations import process_totals

GONE = UUID(int=0)
SILENT = timedelta(hours=1)
ALIVE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Total:
    """How many there were of something, over all processes, and how long they took together."""

    count: int
    seconds: float


_row = process_totals.c
_KEY = ["process", "measure", "label"]


def _added(counts: Insert) -> Insert:
    """To what is there already."""
    return counts.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "count": _row["count"] + counts.excluded["count"],
            "seconds": _row.seconds + counts.excluded.seconds,
            "changed_at": func.now(),
        },
    )


_given = records("counts", measure=Text, label=Text, count=BigInteger, seconds=Float)
_insertion = insert(process_totals).from_select(
    [*_KEY, "count", "seconds"],
    select(bindparam("process", type_=Uuid), _given.c.measure, _given.c.label, _given.c["count"], _given.c.seconds),
)
_ADD = _added(_insertion)
_READ = select(
    _row.measure, _row.label, func.sum(_row["count"]).label("count"), func.sum(_row.seconds).label("seconds")
).group_by(_row.measure, _row.label)
_silent = (
    delete(process_totals)
    .where(_row.process != GONE, _row.changed_at < func.now() - SILENT)
    .returning(_row.measure, _row.label, _row["count"], _row.seconds)
    .cte("silent")
)
_folding = insert(process_totals).from_select(
    [*_KEY, "count", "seconds"],
    select(
        literal(GONE, Uuid),
        _silent.c.measure,
        _silent.c.label,
        func.sum(_silent.c["count"]),
        func.sum(_silent.c.seconds),
    ).group_by(_silent.c.measure, _silent.c.label),
)
_FOLD = _added(_folding)
_ALIVE = (
    select(_row.label, func.count().label("processes"))
    .where(_row.measure == Measure.FLUSH, _row.process != GONE, _row.changed_at > func.now() - ALIVE)
    .group_by(_row.label)
)

_living = select(_row.process).where(
    _row.measure == Measure.FLUSH, _row.process != GONE, _row.changed_at > func.now() - ALIVE
)
_CALLS = (
    select(_row.label, func.sum(_row["count"]).label("calls"))
    .where(_row.measure == Measure.CALL, _row.process.in_(_living))
    .group_by(_row.label)
)


def add(connection: Connection, *, process: UUID, counts: Mapping[tuple[str, str], tuple[int, float]]) -> None:
    """Add these (count, seconds), by measure and label, to the totals of a process."""
    rows = [
        {"measure": measure, "label": label, "count": count, "seconds": seconds}
        for (measure, label), (count, seconds) in sorted(counts.items())
    ]
    connection.execute(_ADD, {"counts": dumps(rows), "process": process})


def read(connection: Connection) -> dict[str, dict[str, Total]]:
    """The totals over all processes there ever were, by measure and label."""
    totals: dict[str, dict[str, Total]] = {}
    for measure, label, count, seconds in connection.execute(_READ):
        totals.setdefault(measure, {})[label] = Total(int(count), seconds)
    return totals


def alive(connection: Connection) -> dict[str, int]:
    """How many processes of each role have written their counts within a minute."""
    return {row.label: row.processes for row in connection.execute(_ALIVE)}


def calls(connection: Connection) -> dict[str, int]:
    """How many calls the API processes that live have answered, by the way they came."""
    return {row.label: int(row.calls) for row in connection.execute(_CALLS)}


def fold(connection: Connection) -> None:
    """Add up what processes counted that have been silent for an hour. Safe to repeat, and while they write."""
    connection.execute(_FOLD)
