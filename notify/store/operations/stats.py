"""
Counts of outcomes: per minute, and as totals that never decrease.

*Decided*: each worker counts into rows of its own, per minute, so that none waits for another. Once a minute can
no longer change it is added to ``delivery_totals``, which records how far it goes; a total is that plus the later
minutes. *Rejected*: totals that every worker updates: all would wait for one row.
"""

from collections import Counter
from datetime import timedelta
from json import dumps
from uuid import UUID

from sqlalchemy import Connection, func, select

# Longer than any transaction that counts.
SETTLED = timedelta(minutes=15)
ONE_FOLD_AT_A_TIME = 0x666F6C64

_COUNT = """
    INSERT INTO notify.delivery_stats AS stats (minute, worker, event_type, outcome, count)
    SELECT date_trunc('minute', now()), %(worker)s, event_type, outcome, count
    FROM jsonb_to_recordset(%(counts)s::jsonb) AS counts(event_type text, outcome text, count int)
    ON CONFLICT (minute, worker, event_type, outcome) DO UPDATE SET count = stats.count + excluded.count"""
_COUNTED_UNTIL = "(SELECT coalesce(max(until), '-infinity') FROM notify.delivery_totals)"
_READ = f"""
    SELECT event_type, outcome, count FROM notify.delivery_totals
    UNION ALL SELECT event_type, outcome, sum(count) FROM notify.delivery_stats
    WHERE minute >= {_COUNTED_UNTIL} GROUP BY event_type, outcome"""
_FOLD = f"""
    INSERT INTO notify.delivery_totals AS total (event_type, outcome, count, until)
    SELECT event_type, outcome, sum(count), date_trunc('minute', now()) - %(settled)s FROM notify.delivery_stats
    WHERE minute >= {_COUNTED_UNTIL} AND minute < date_trunc('minute', now()) - %(settled)s
    GROUP BY event_type, outcome
    ON CONFLICT (event_type, outcome) DO UPDATE SET count = total.count + excluded.count, until = excluded.until"""


def count(connection: Connection, *, worker: UUID, counts: Counter[tuple[str, str]]) -> None:
    """Add these counts, by event type and outcome, to this worker's current minute."""
    if not counts:
        return
    rows = [{"event_type": type_, "outcome": outcome, "count": n} for (type_, outcome), n in counts.items()]
    connection.exec_driver_sql(_COUNT, {"counts": dumps(rows), "worker": worker})


def totals(connection: Connection) -> Counter[tuple[str, str]]:
    """How often each outcome was ever counted, by event type and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for event_type, outcome, counted in connection.exec_driver_sql(_READ):
        found[event_type, outcome] += int(counted)
    return found


def fold(connection: Connection) -> None:
    """Add minutes that can no longer change to the totals; needed before they are pruned. Safe to repeat."""
    connection.execute(select(func.pg_advisory_xact_lock(ONE_FOLD_AT_A_TIME)))
    connection.exec_driver_sql(_FOLD, {"settled": SETTLED})
