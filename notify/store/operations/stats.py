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

from sqlalchemy import Connection, func, select

# Longer than any transaction that counts can last.
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
    """Add these counts, by event type and outcome, to the present minute of this worker."""
    if not counts:
        return
    rows = [{"event_type": type_, "outcome": outcome, "count": n} for (type_, outcome), n in counts.items()]
    connection.exec_driver_sql(_COUNT, {"counts": dumps(rows), "worker": worker})


def totals(connection: Connection) -> Counter[tuple[str, str]]:
    """How often each outcome was counted since the beginning, by event type and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for event_type, outcome, counted in connection.exec_driver_sql(_READ):
        found[event_type, outcome] += int(counted)
    return found


def fold(connection: Connection) -> None:
    """Add the minutes that nobody counts into any more to the totals; before they may be pruned. Safe to repeat."""
    connection.execute(select(func.pg_advisory_xact_lock(ONE_FOLD_AT_A_TIME)))
    connection.exec_driver_sql(_FOLD, {"settled": SETTLED})
