"""The database: version, encoding, pooler, schema, open transactions, autovacuum, and its clock."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.store.database import is_pooled, unusable_because
from notify.store.operations import migrate, server
from notify.store.operations.server import LONG, HotTable

OLDEST_SUPPORTED = 14
MAX_SKEW = timedelta(seconds=5)
MAX_DEAD_RATIO = 0.5
FEW_ROWS = 50_000
MAX_SCALE_FACTOR = 0.1
NAMED = 3


def database(deployment: Deployment) -> Sequence[Finding]:
    """Everything about the database; one finding if it does not answer."""
    try:
        with deployment.database.begin() as connection:
            tables = map(_table, server.hot_tables(connection))
            return [*_server(connection), _transactions(connection), *tables, _clock(connection)]
    except SQLAlchemyError as error:
        why = "Nothing works without it."
        words = (unusable_because(error) if isinstance(error, DBAPIError) else None) or type(error).__name__
        return [Finding("database", False, words, why, "check NOTIFY_DATABASE_URL")]


def transactions(deployment: Deployment, *, longer: timedelta = LONG) -> Sequence[Finding]:
    """Transactions that have been open for longer than that, and so keep the database from cleaning up."""
    with deployment.database.begin() as connection:
        return [_transactions(connection, longer=longer)]


def _server(connection: Connection) -> Iterator[Finding]:
    version, why = server.version(connection), f"{OLDEST_SUPPORTED} is the oldest that is tested."
    yield Finding("database", version >= OLDEST_SUPPORTED, f"PostgreSQL {version}", why, "upgrade PostgreSQL")

    encoding, why = migrate.encoding(connection), "Other encodings cannot store every text."
    fix = f"CREATE DATABASE … ENCODING '{migrate.ENCODING}' TEMPLATE template0, and move there"
    yield Finding("encoding", encoding == migrate.ENCODING, encoding, why, fix)

    taken, why = server.takes_writes(connection), "Events are refused and emails wait until writes are allowed."
    words = "allowed" if taken else "refused: it is a replica, or default_transaction_read_only is on"
    fix = "NOTIFY_DATABASE_URL=postgresql://…@host1,host2/…?target_session_attrs=read-write finds the primary"
    yield Finding("writes", taken, words, why, fix)

    if is_pooled(connection):
        words = "in use, such as PgBouncer; each transaction makes its own session settings"
        yield Finding("pooler", True, words, "Nothing relies on a session, and no statement is prepared.", "")

    revision, head = migrate.current(connection), migrate.head()
    yield Finding("schema", (revision or "") >= head, f"at {revision}", f"This code needs {head}.", "notify migrate")


def _transactions(connection: Connection, *, longer: timedelta = LONG) -> Finding:
    why = "Rows that have died since then cannot be cleaned up, and claims get slower."
    open_ = server.snapshots(connection, longer=longer)
    words = ", ".join(f"{one.who} (pid {one.pid}, {one.state}) for {one.seconds:,.0f} s" for one in open_[:NAMED])
    fix = f"end it in the application, or: SELECT pg_terminate_backend({open_[0].pid})" if open_ else ""
    return Finding("transactions", not open_, words or "none has been open for over a minute", why, fix)


def _table(table: HotTable) -> Finding:
    about, why = f"autovacuum {table.name}", "Dead rows slow down claims and make the table larger."
    on = f"ALTER TABLE notify.{table.name} SET (autovacuum_enabled = true); autovacuum = on in postgresql.conf"
    lazy = f"ALTER TABLE notify.{table.name} SET (autovacuum_vacuum_scale_factor = 0.01)"
    if not table.autovacuum:
        return Finding(about, False, "switched off", why, on)
    if table.dead > FEW_ROWS and table.dead > MAX_DEAD_RATIO * table.live:
        cleaned = f"{table.vacuumed_at:%Y-%m-%d %H:%M} UTC" if table.vacuumed_at else "never"
        words = f"{table.dead:,} dead rows, {table.live:,} live, last cleaned up {cleaned}"
        return Finding(about, False, words, why, f"VACUUM notify.{table.name}")
    if table.scale_factor > MAX_SCALE_FACTOR and table.live > FEW_ROWS:
        words = f"waits until {table.scale_factor:.0%} of {table.live:,} rows are dead"
        return Finding(about, False, words, why, lazy)
    return Finding(about, True, f"{table.dead:,} dead rows, {table.live:,} live", why, "")


def _clock(connection: Connection) -> Finding:
    """The answer is taken to be from halfway between question and answer."""
    asked = datetime.now(UTC)
    there = server.clock(connection)
    answered = datetime.now(UTC)
    skew = abs(there - (asked + (answered - asked) / 2))
    words = f"this machine's and the database's differ by {skew.total_seconds():.1f} s"
    why = "The database's clock decides what is due; this machine's clock dates emails, logs and tokens."
    return Finding("clock", skew <= MAX_SKEW, words, why, "synchronize both clocks by NTP")
