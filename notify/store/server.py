"""What PostgreSQL says of itself: what it could not clean up yet, and who may be keeping it from that."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from notify.store.tables import SCHEMA

HOT = ("events", "email_jobs", "email_attempts", "delivery_stats")

_ROWS = text(
    "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = :schema AND relname = ANY(:hot)"
)
# A vacuum's own snapshot keeps no other vacuum from anything; one in another database keeps nobody here.
_OLDEST_SNAPSHOT = text("""
    SELECT CAST(extract(epoch FROM coalesce(max(clock_timestamp() - since), interval '0')) AS double precision)
    FROM (
        SELECT xact_start AS since FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
            AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
        UNION ALL
        SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()
    ) AS transactions
""")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table that live, and those that are dead and not cleaned up yet; PostgreSQL's estimates."""

    live: int
    dead: int


def rows(connection: Connection) -> Mapping[str, Rows]:
    """The rows of the tables that change all the time, by table."""
    found = connection.execute(_ROWS, {"schema": SCHEMA, "hot": list(HOT)})
    return {table: Rows(live, dead) for table, live, dead in found}


def oldest_snapshot_seconds(connection: Connection) -> float:
    """
    How long the oldest transaction has been open that keeps dead rows from being cleaned up; 0: none does.

    Transactions of other roles are seen only by members of ``pg_read_all_stats``.
    """
    return float(connection.execute(_OLDEST_SNAPSHOT).scalar_one())
