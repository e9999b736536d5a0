"""Our own pool of connections to PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from notify.store.sessions import READ_ONLY, ConfiguredConnection, default_timeouts
from notify.store.urls import with_our_driver

# Errors that blame the database's availability, not the statement. InternalError: for example, read-only after a
# failover.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolExhausted)

# Source: PostgreSQL's documentation, "PostgreSQL Error Codes": undefined table, column, schema.
NOT_MIGRATED = frozenset({"42P01", "42703", "3F000"})
NOT_PRIVILEGED = "42501"

IDLE_SINCE = "idle_since"

# Per process.
POOL_SIZE = 5
# Longer than the server's statement_timeout.
ANSWER_TIMEOUT_SECONDS = 40.0

# How often a wait for the database is interrupted, so that Ctrl-C works.
POLL_SECONDS = 0.1

Result = TypeVar("Result")


class TimedConnection(ConfiguredConnection):
    """
    A connection that is closed when the server does not answer in time.

    A proxy or host that hangs still acknowledges what it receives, so neither keepalives nor the server's
    statement_timeout end the wait.
    """

    longest_wait_seconds: float | None = None

    def wait(self, gen: PQGen[Result], interval: float = POLL_SECONDS, timeout: float | None = None) -> Result:
        """
        Raises:
            OperationalError: There was no answer in time; the connection is closed.
        """
        try:
            return super().wait(gen, interval, self.longest_wait_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class Database:
    """
    A pool of connections to one PostgreSQL database. Thread-safe; create a new one after a fork.

    Connects on first use, so that creating one costs nothing and cannot fail.

    Args:
        answer_timeout_seconds: How long to wait for a statement's answer; longer than the server's own limit.
            None: for ever.
        ping_after_seconds: A connection that was idle for longer is checked before use.
        timeouts: The server's timeouts, by setting name; None: the defaults, or those in the URL's options.
        prepared: Server settings for prepared statements.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = POOL_SIZE,
        pool_timeout_seconds: float = 30,
        connect_timeout_seconds: int = 5,
        answer_timeout_seconds: float | None = ANSWER_TIMEOUT_SECONDS,
        ping_after_seconds: float = 1,
        timeouts: Mapping[str, str] | None = None,
        prepared: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._prepared = prepared or {}
        self._timeouts = timeouts
        self._answer_timeout = answer_timeout_seconds
        self._ping_after = ping_after_seconds
        self.engine = create_engine(
            with_our_driver(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_use_lifo=True,  # prepared statements belong to their connection
            pool_timeout=pool_timeout_seconds,
            hide_parameters=True,  # they contain addresses and people's texts, and errors are logged
            connect_args={
                "connect_timeout": connect_timeout_seconds,
                "application_name": "notify",
                "client_encoding": "utf8",
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "tcp_user_timeout": 60_000,  # ms; keepalives do not end a wait for an unacknowledged statement
            },
        )

        event.listen(self.engine, "do_connect", self._connect)
        event.listen(self.engine, "begin", _set_up_transaction)
        event.listen(self.engine, "handle_error", _detect_read_only)
        event.listen(self.engine, "checkin", _mark_idle)
        event.listen(self.engine, "checkout", self._ping_if_idle)

    def _connect(
        self, _dialect: object, _entry: object, arguments: list[Any], options: dict[str, Any]
    ) -> TimedConnection:
        made = TimedConnection.connect(*arguments, **options)
        made.longest_wait_seconds = self._answer_timeout
        try:
            timeouts = default_timeouts(options.get("options", "")) if self._timeouts is None else self._timeouts
            made.set_up(timeouts, prepared=self._prepared)
        except BaseException:
            made.close()
            raise
        return made

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """For one statement, which commits by itself; without a pooler it saves the round trips of a transaction."""
        with self.engine.connect() as connection:
            if is_pooled(connection):
                with connection.begin():
                    yield connection
            else:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def _ping_if_idle(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        """
        Ping a connection that was idle; if it is dead the pool opens another.

        *Rejected*: SQLAlchemy's ``pool_pre_ping``, which pings before every use: one round trip of six in recording.
        """
        if monotonic() - record.info.get(IDLE_SINCE, monotonic()) < self._ping_after:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except psycopg.Error:
            raise InvalidatePoolError from None


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler stands between this connection of ours and the server."""
    return _own(connection).is_pooled


def message_of(error: DBAPIError) -> str:
    """The server's or the driver's error message in one line, without details, which may contain people's texts."""
    orig = error.orig
    said = orig.diag.message_primary if isinstance(orig, psycopg.Error) else None
    return said or " ".join(str(orig).split())


def unusable_because(error: DBAPIError) -> str | None:
    """Why the database refuses to work, in a sentence; None: the statement itself was wrong."""
    if isinstance(error, UNAVAILABLE):
        return f"the database does not answer: {message_of(error)}"
    state = getattr(error.orig, "sqlstate", None)
    if state in NOT_MIGRATED:
        return f"the schema is missing or too old: {message_of(error)}; run notify migrate"
    if state == NOT_PRIVILEGED:
        return f"the role lacks a privilege: {message_of(error)}; docs/operations.md lists those that each role needs"
    return None


def _own(connection: Connection) -> ConfiguredConnection:
    return cast("ConfiguredConnection", connection.connection.driver_connection)


def _set_up_transaction(connection: Connection) -> None:
    """Behind a pooler, each transaction begins with our session settings."""
    begin = _own(connection).begin
    if begin is not None:
        connection.exec_driver_sql(begin, execution_options={"no_parameters": True})


def _detect_read_only(context: ExceptionContext) -> None:
    """Treat a server that became read-only, because another was promoted, as disconnected."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _mark_idle(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[IDLE_SINCE] = monotonic()
