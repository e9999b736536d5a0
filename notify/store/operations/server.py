"""The state of the PostgreSQL server: version, clock, connections, dead rows, long transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, text

from notify.store.tables import SCHEMA

HOT_TABLES = ("work_items", "events", "notifications", "email_jobs", "bundles", "email_attempts", "delivery_stats")
LONG = timedelta(minutes=1)

# Other vacuums ignore a vacuum's own snapshot, and ours ignores those in other databases.
_SNAPSHOTS = text("""
    SELECT pid, coalesce(nullif(application_name, ''), usename, backend_type) AS who, state,
        CAST(extract(epoch FROM clock_timestamp() - xact_start) AS double precision) AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in transaction%')
        AND xact_start < clock_timestamp() - CAST(:longer AS interval)
    ORDER BY xact_start
""")
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
_HOT_TABLES = text("""
    SELECT c.relname AS name, s.n_live_tup AS live, s.n_dead_tup AS dead,
        greatest(s.last_autovacuum, s.last_vacuum) AS vacuumed_at,
        NOT coalesce((
            SELECT NOT CAST(option_value AS boolean) FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_enabled'
        ), false) AND CAST(current_setting('autovacuum') AS boolean)
            AND CAST(current_setting('track_counts') AS boolean) AS autovacuum,
        coalesce((
            SELECT CAST(option_value AS double precision) FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_scale_factor'
        ), CAST(current_setting('autovacuum_vacuum_scale_factor') AS double precision)) AS scale_factor
    FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE s.schemaname = :schema AND c.relname IN :hot ORDER BY c.relname
""").bindparams(bindparam("hot", list(HOT_TABLES), expanding=True))
_CONNECTIONS = text("""
    SELECT CAST(current_setting('max_connections') AS int)
            - CAST(current_setting('superuser_reserved_connections') AS int) AS allowed,
        (SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND application_name <> 'notify') AS others
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A long transaction that holds a snapshot, and who opened it."""

    pid: int
    who: str
    state: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HotTable:
    """
    How a table that changes all the time is vacuumed; row counts are PostgreSQL's estimates.

    ``autovacuum``: whether it is on; ``scale_factor``: the fraction of dead rows at which it starts.
    """

    name: str
    live: int
    dead: int
    vacuumed_at: datetime | None
    autovacuum: bool
    scale_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """How many connections the server allows, and how many other programs use."""

    allowed: int
    others: int


def version(connection: Connection) -> int:
    """PostgreSQL's major version."""
    return int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000


def takes_writes(connection: Connection) -> bool:
    """Whether the server accepts writes: it is neither a replica nor set to read-only."""
    return bool(connection.scalar(text("SHOW transaction_read_only")) == "off")


def clock(connection: Connection) -> datetime:
    """The server's time."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def connections(connection: Connection) -> Connections:
    """The connections in use and allowed."""
    return Connections(**connection.execute(_CONNECTIONS).mappings().one())


def hot_tables(connection: Connection) -> Sequence[HotTable]:
    """The tables whose dead rows slow down claims."""
    return [HotTable(**row) for row in connection.execute(_HOT_TABLES, {"schema": SCHEMA}).mappings()]


def snapshots(connection: Connection, *, longer: timedelta = LONG) -> Sequence[Snapshot]:
    """
    Transactions that keep dead rows from being vacuumed, the oldest first.

    Other roles' transactions are visible only to members of ``pg_read_all_stats``.
    """
    return [Snapshot(**row) for row in connection.execute(_SNAPSHOTS, {"longer": longer}).mappings()]


def oldest_snapshot_seconds(connection: Connection) -> float:
    """Age of the oldest transaction that keeps dead rows from being vacuumed, prepared ones included; 0: none."""
    return float(connection.execute(_OLDEST_SNAPSHOT).scalar_one())
