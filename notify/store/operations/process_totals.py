"""
Counters that each process keeps, as running totals: a few rows for each live process.

*Decided*: a process updates rows of its own, so that none waits for another. After an hour of silence its rows
are added to those of the processes that are gone. Totals never decrease.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from json import dumps
from uuid import UUID

from sqlalchemy import Connection

from notify.domain.measures import Measure

GONE = UUID(int=0)
SILENT = timedelta(hours=1)
ALIVE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Total:
    """Count and total duration, over all processes."""

    count: int
    seconds: float


_ON_CONFLICT = """
    ON CONFLICT (process, measure, label) DO UPDATE SET
        count = total.count + excluded.count, seconds = total.seconds + excluded.seconds, changed_at = now()"""
_ADD = f"""
    INSERT INTO notify.process_totals AS total (process, measure, label, count, seconds)
    SELECT %(process)s, measure, label, count, seconds
    FROM jsonb_to_recordset(%(counts)s::jsonb) AS counts(measure text, label text, count bigint, seconds float8)
    {_ON_CONFLICT}"""
_READ = """
    SELECT measure, label, sum(count) AS count, sum(seconds) AS seconds FROM notify.process_totals
    GROUP BY measure, label"""
_FOLD = f"""
    WITH silent AS (
        DELETE FROM notify.process_totals WHERE process <> %(gone)s AND changed_at < now() - %(silent)s
        RETURNING measure, label, count, seconds
    )
    INSERT INTO notify.process_totals AS total (process, measure, label, count, seconds)
    SELECT %(gone)s, measure, label, sum(count), sum(seconds) FROM silent GROUP BY measure, label
    {_ON_CONFLICT}"""
_LIVING = f"""
    FROM notify.process_totals
    WHERE measure = '{Measure.FLUSH}' AND process <> %(gone)s AND changed_at > now() - %(alive)s"""
_ALIVE = f"SELECT label, count(*) {_LIVING} GROUP BY label"
_CALLS = f"""
    SELECT label, sum(count)::bigint FROM notify.process_totals
    WHERE measure = '{Measure.CALL}' AND process IN (SELECT process {_LIVING}) GROUP BY label"""


def add(connection: Connection, *, process: UUID, counts: Mapping[tuple[str, str], tuple[int, float]]) -> None:
    """Add these (count, seconds), by measure and label, to a process's totals."""
    rows = [
        {"measure": measure, "label": label, "count": count, "seconds": seconds}
        for (measure, label), (count, seconds) in sorted(counts.items())
    ]
    connection.exec_driver_sql(_ADD, {"counts": dumps(rows), "process": process})


def read(connection: Connection) -> dict[str, dict[str, Total]]:
    """The totals of all processes ever, by measure and label."""
    totals: dict[str, dict[str, Total]] = {}
    for measure, label, count, seconds in connection.exec_driver_sql(_READ):
        totals.setdefault(measure, {})[label] = Total(int(count), seconds)
    return totals


def alive(connection: Connection) -> dict[str, int]:
    """How many processes of each role reported within the last minute."""
    return _by_label(connection, _ALIVE)


def calls(connection: Connection) -> dict[str, int]:
    """How many calls the live API processes have answered, by entry point."""
    return _by_label(connection, _CALLS)


def fold(connection: Connection) -> None:
    """Merge the counts of processes that were silent for an hour. Safe to repeat, and while they write."""
    connection.exec_driver_sql(_FOLD, {"gone": GONE, "silent": SILENT})


def _by_label(connection: Connection, statement: str) -> dict[str, int]:
    return dict(connection.exec_driver_sql(statement, {"gone": GONE, "alive": ALIVE}).cursor.fetchall())
