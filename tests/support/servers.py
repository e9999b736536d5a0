"""The PostgreSQL database and the broker that a test session works on, its own or external ones."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import redis
from sqlalchemy import URL, Connection, create_engine, delete, insert, make_url, pool, select, text

from notify.embedded.postgres import PostgresServer
from notify.embedded.valkey import ValkeyServer
from notify.store.tables import metadata
from notify.store.tables.people import notification_event_types
from notify.store.urls import with_our_driver

HIGHEST_BROKER_DATABASE = 15


@contextmanager
def postgres(outside: str | None, folder: Path) -> Iterator[str]:
    """
    The URL of a server on which databases may be created: *outside*, else an embedded one that skips flushes.

    The embedded one allows prepared transactions, which PostgreSQL does not by default.
    """
    if outside:
        yield outside
        return
    with PostgresServer(folder, durable=False, options=["max_prepared_transactions=5"]) as server:
        yield server.url


@contextmanager
def new_database(server: str, options: str = "") -> Iterator[str]:
    """The URL of a new database with these *options*, which is dropped at the end."""
    name = f"notify_test_{uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name} {options}")
    try:
        yield in_words(make_url(server).set(database=name))
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def broker(outside: str | None, folder: Path) -> Iterator[str]:
    """
    The URL of a broker that nobody else uses: an embedded Valkey, or the highest empty database of *outside*.

    An AMQP broker is used as it is: its virtual host separates it.
    """
    if not outside:
        with ValkeyServer(folder) as server:
            yield server.url
    elif not outside.startswith("redis"):
        yield outside
    else:
        url = _empty_broker_database(make_url(outside))
        try:
            yield url
        finally:
            empty_broker(url)


EMPTY = "; ".join(
    f"DELETE FROM {table.fullname}"  # noqa: S608 - our own names
    for table in reversed(metadata.sorted_tables)
    if table is not notification_event_types
)


def empty_broker(url: str) -> None:
    """Delete every key of this Redis or Valkey database; other brokers are left as they are."""
    if url.startswith("redis"):
        with closing(redis.Redis.from_url(url)) as client:
            client.flushdb()


def empty(connection: Connection) -> None:
    """
    Delete the rows of every table but the event types.

    Many DELETEs in one call are five times as fast as a call for each; TRUNCATE and a copy of a template are slower.
    """
    connection.exec_driver_sql(EMPTY)


def event_types(connection: Connection) -> list[dict[str, object]]:
    """The rows of the event types, for ``restore_event_types``."""
    return [dict(row) for row in connection.execute(select(notification_event_types)).mappings()]


def restore_event_types(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Restore the event types to these rows, unless they are as they were."""
    if event_types(connection) == rows:
        return
    connection.execute(delete(notification_event_types))
    if rows:
        connection.execute(insert(notification_event_types), rows)


def in_words(url: URL) -> str:
    """The URL as a setting has it, its password included."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _administer(server: str, statement: str) -> None:
    engine = create_engine(with_our_driver(server), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def _empty_broker_database(server: URL) -> str:
    for number in range(HIGHEST_BROKER_DATABASE, -1, -1):
        url = server.set(database=str(number)).render_as_string(hide_password=False)
        with closing(redis.Redis.from_url(url)) as client:
            if client.dbsize() == 0:
                return url
    message = "every database of NOTIFY_TEST_BROKER_URL contains keys; expected one that is empty"
    raise RuntimeError(message)
