"""How migrations run: one run at a time, each in its own transaction, giving up rather than blocking others."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from os import environ

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from notify.domain.errors import NotifyError
from notify.store.database import Database
from notify.store.operations.migrate import create_schema, explain_failure
from notify.store.sessions import TIMEOUTS
from notify.store.tables import SCHEMA, metadata

ONE_RUN_AT_A_TIME = 0x6E6F74696679
NO_LIMITS = dict.fromkeys(TIMEOUTS, "0")
GIVES_UP = {**NO_LIMITS, "lock_timeout": "5s", "statement_timeout": "10min"}


@contextmanager
def turn(url: str) -> Iterator[None]:
    """
    Wait until no other run is under way, and let none begin within the block.

    A transaction of a connection of its own has the lock: behind a pooler nothing else lasts for longer than
    a statement. It waits as long as it takes, and no statement of the application's waits for it.
    """
    waiting = Database(url, pool_size=1, answer_timeout_seconds=None, timeouts=NO_LIMITS)
    with closing(waiting), waiting.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_RUN_AT_A_TIME})
        yield


def run(connection: Connection) -> None:
    """Migrate over this connection, but for what stands in the way of all of it."""
    with connection.begin():
        create_schema(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    try:
        with context.begin_transaction():
            context.run_migrations()
    except ProgrammingError as error:
        connection.rollback()
        explain_failure(connection, error)


def migrate(url: str) -> None:
    """Migrate this database when it is our turn."""
    database = Database(url, pool_size=1, answer_timeout_seconds=None, timeouts=GIVES_UP)
    with turn(url), closing(database), database.engine.connect() as connection:
        run(connection)


ours = context.config.attributes.get("url")
stated = ours or environ.get("NOTIFY_DATABASE_URL")
if not stated:
    message = "NOTIFY_DATABASE_URL is not set; expected postgresql://user:password@host:port/database"
    raise SystemExit(message)
try:
    migrate(stated)
except NotifyError as refused:
    if ours:
        raise
    raise SystemExit(str(refused)) from None  # Alembic's own command
