"""The ways to a PostgreSQL connection: our own small pool, and whatever the application hands us."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection, CursorResult, Executable, create_engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.compiler import Compiled
from sqlalchemy.sql.elements import ClauseElement

from notify.domain.errors import UnsupportedConnection
from notify.store.sessions import READ_ONLY, OwnConnection, usual_limits
from notify.store.urls import with_our_driver

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session
    from typing_extensions import TypeIs

# What says nothing about the statement, only that the database cannot answer it now. InternalError: among
# others, read-only since a failover.
AWAY = (OperationalError, InterfaceError, InternalError, PoolExhausted)

# Source: PostgreSQL's documentation, "PostgreSQL Error Codes": undefined table, column, schema.
NOT_MIGRATED = frozenset({"42P01", "42703", "3F000"})
NOT_PRIVILEGED = "42501"

RESTS_SINCE = "rests_since"

# Of one process.
POOL_SIZE = 5
# Longer than the server's own limit for a statement.
ANSWER_TIMEOUT_SECONDS = 40.0

# How often a wait for the database looks up, so that Ctrl-C is heard.
LOOK_SECONDS = 0.1

Result = TypeVar("Result")
Caller: TypeAlias = "Session | Connection | psycopg.Connection[Any]"
Run = Callable[[Executable, Mapping[str, str]], list[tuple[Any, ...]]]


class Impatient(OwnConnection):
    """
    A connection that is given up when an answer does not come.

    A proxy or a host that hangs goes on to acknowledge what it is sent, so that neither keepalives nor
    the server's own time-out for a statement end the wait.
    """

    longest_wait_seconds: float | None = None

    def wait(self, gen: PQGen[Result], interval: float = LOOK_SECONDS, timeout: float | None = None) -> Result:
        """
        Raises:
            OperationalError: There was no answer in time, and the connection is closed.
        """
        try:
            return super().wait(gen, interval, self.longest_wait_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class Database:
    """
    A pool of connections to one PostgreSQL database. Thread-safe; make it anew after a fork.

    Opening happens at the first use, so making one costs nothing and cannot fail.

    Args:
        answer_timeout_seconds: A statement that has no answer by then gets none; longer than the server
            itself takes for one. None: it is waited for.
        short_rest_seconds: A connection that has rested longer is asked whether it still stands.
        limits: How long the server itself waits, by the names of its settings; None: as usual, or as the URL's
            own options say.
        prepared: Settings of the server that make prepared statements better.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = POOL_SIZE,
        pool_timeout_seconds: float = 30,
        connect_timeout_seconds: int = 5,
        answer_timeout_seconds: float | None = ANSWER_TIMEOUT_SECONDS,
        short_rest_seconds: float = 1,
        limits: Mapping[str, str] | None = None,
        prepared: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._prepared = prepared or {}
        self._limits = limits
        self._answer_timeout = answer_timeout_seconds
        self._short_rest = short_rest_seconds
        self.engine = create_engine(
            with_our_driver(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_use_lifo=True,  # what one connection has prepared, another has to prepare anew
            pool_timeout=pool_timeout_seconds,
            hide_parameters=True,  # they are addresses and people's words, and errors end in logs
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
        event.listen(self.engine, "begin", _begins)
        event.listen(self.engine, "handle_error", _notices_read_only)
        event.listen(self.engine, "checkin", _rests)
        event.listen(self.engine, "checkout", self._wakes)

    def _connect(self, _dialect: object, _entry: object, arguments: list[Any], options: dict[str, Any]) -> Impatient:
        made = Impatient.connect(*arguments, **options)
        made.longest_wait_seconds = self._answer_timeout
        try:
            limits = usual_limits(options.get("options", "")) if self._limits is None else self._limits
            made.set_up(limits, prepared=self._prepared)
        except BaseException:
            made.close()
            raise
        return made

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends well and rolls back when it raises."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """For one statement that changes nothing: without the two round trips of a transaction, but behind a pooler."""
        with self.engine.connect() as connection:
            if is_pooled(connection):
                with connection.begin():
                    yield connection
            else:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def _wakes(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        """
        Ask a connection that has rested whether it still stands; the pool opens others if not.

        *Rejected*: the pool's own ``pool_pre_ping``, which asks each time: one round trip of six in recording.
        """
        if monotonic() - record.info.get(RESTS_SINCE, monotonic()) < self._short_rest:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except psycopg.Error:
            raise InvalidatePoolError from None


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler stands between this connection of ours and the server."""
    return _own(connection).is_pooled


def in_words(error: DBAPIError) -> str:
    """What the server or the driver says is wrong, in one line; without the details, which may be people's words."""
    orig = error.orig
    said = orig.diag.message_primary if isinstance(orig, psycopg.Error) else None
    return said or " ".join(str(orig).split())


def refusal(error: DBAPIError) -> str | None:
    """Why the database does nothing for us, in a sentence; None: it did, and the statement was wrong."""
    if isinstance(error, AWAY):
        return f"the database does not answer: {in_words(error)}"
    state = getattr(error.orig, "sqlstate", None)
    if state in NOT_MIGRATED:
        return f"the schema is not there, or is too old: {in_words(error)}; run notify migrate"
    if state == NOT_PRIVILEGED:
        return f"the role lacks a right: {in_words(error)}; docs/operations.md says which each needs"
    return None


def _own(connection: Connection) -> OwnConnection:
    return cast("OwnConnection", connection.connection.driver_connection)


def _begins(connection: Connection) -> None:
    """Behind a pooler, what the session is elsewhere comes with each transaction."""
    begin = _own(connection).begin
    if begin is not None:
        connection.exec_driver_sql(begin, execution_options={"no_parameters": True})


def _notices_read_only(context: ExceptionContext) -> None:
    """A server that takes no writes any more, because another has been promoted, is as good as gone."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _rests(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[RESTS_SINCE] = monotonic()


def is_session(caller: object) -> "TypeIs[Session]":
    """Whether it is a Session. The ORM, 6 MB, is not imported to find out: whoever has one has imported it."""
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(caller, orm.Session)


def is_scoped(caller: object) -> "TypeIs[scoped_session[Session]]":
    """Whether calling it gives a Session; asked in the same way."""
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(caller, orm.scoped_session)


def runner(caller: object) -> Run:
    """
    How to run a statement in the caller's transaction, whichever library opened it.

    Parameters are text, so that the same statement means the same to either library.

    Raises:
        UnsupportedConnection: The caller is neither a Session, a Connection nor a psycopg connection.
    """
    if is_session(caller) or isinstance(caller, Connection):
        return lambda statement, parameters: _run_on_sqlalchemy(caller, statement, parameters)
    if isinstance(caller, psycopg.Connection):
        return lambda statement, parameters: _run_on_psycopg(caller, statement, parameters)
    raise UnsupportedConnection(given=type(caller).__name__)


def _run_on_sqlalchemy(
    caller: "Session | Connection", statement: Executable, parameters: Mapping[str, str]
) -> list[tuple[Any, ...]]:
    result = caller.execute(statement, parameters)
    return [tuple(row) for row in result] if isinstance(result, CursorResult) and result.returns_rows else []


def _run_on_psycopg(
    connection: psycopg.Connection[Any], statement: Executable, parameters: Mapping[str, str]
) -> list[tuple[Any, ...]]:
    """On a cursor of our own kind: the connection's may number its parameters or return dictionaries."""
    compiled = _compiled(statement)
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(str(compiled).encode(), {**compiled.params, **parameters})
        return cursor.fetchall() if cursor.description else []


@lru_cache(maxsize=32)
def _compiled(statement: Executable) -> Compiled:
    return cast("ClauseElement", statement).compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call]
