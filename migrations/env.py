"""How migrations run: one run at a time, each in its own transaction, giving up rather than blocking others."""

from os import environ

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from notify.store.database import with_our_driver
from notify.store.tables import SCHEMA, metadata

ONE_RUN_AT_A_TIME = 0x6E6F74696679


def run(connection: Connection) -> None:
    """
    Migrate over this connection.

    The advisory lock is taken before the lock time-out is set: a second run waits for the first,
    but no run makes the application's statements wait behind a lock that it cannot get.
    """
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ONE_RUN_AT_A_TIME})
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


url = context.config.attributes.get("url") or environ.get("NOTIFY_DATABASE_URL")
if not url:
    message = "NOTIFY_DATABASE_URL is not set; expected postgresql://user:password@host:port/database"
    raise SystemExit(message)
engine = create_engine(with_our_driver(url), poolclass=pool.NullPool)
with engine.connect() as only_connection:
    run(only_connection)
engine.dispose()
