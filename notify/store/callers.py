"""
Runs our statements on the connections that applications hand us, in their transaction.

*Decided*: what stores something is a generator. It yields statements and is sent their rows, so that one text serves
every library, blocking or not.
*Rejected*: SQLAlchemy's ``greenlet_spawn``, which an application with psycopg or asyncpg alone has not installed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import (
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection, CursorResult, Result, TextClause
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.compiler import SQLCompiler

from notify.domain.errors import UnsupportedConnection
from notify.store.connection_kinds import (
    AsyncCaller,
    AsyncpgConnection,
    Caller,
    is_async,
    is_async_connection,
    is_async_psycopg,
    is_async_session,
    is_asyncpg,
    is_session,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

Returned = TypeVar("Returned")
Rows = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """
    One statement; its parameters are text.

    It has to cast each to text first and then to what it needs, ``CAST(CAST(:ids AS text) AS bigint[])``: asyncpg,
    and the codecs of an application, go by the type that the statement gives to a parameter.
    """

    text: TextClause
    parameters: Mapping[str, str]


Statements: TypeAlias = Generator[Statement, Rows, Returned]
Run = Callable[[Statement], Rows]
AsyncRun = Callable[[Statement], Awaitable[Rows]]


def run(caller: Caller, statements: Statements[Returned]) -> Returned:
    """
    Run the statements in the caller's transaction; without one (autocommit) psycopg gets one of their own.

    Raises:
        UnsupportedConnection: The caller is neither a Session, a Connection nor a psycopg connection.
    """
    with _opened(caller) as run_one:
        try:
            statement = next(statements)
            while True:
                statement = statements.send(run_one(statement))
        except StopIteration as ended:
            returned: Returned = ended.value
    return returned


async def run_async(caller: AsyncCaller, statements: Statements[Returned]) -> Returned:
    """The same, without blocking the event loop; asyncpg too gets a transaction where it has none."""
    async with _opened_async(caller) as run_one:
        try:
            statement = next(statements)
            while True:
                statement = statements.send(await run_one(statement))
        except StopIteration as ended:
            returned: Returned = ended.value
    return returned


def refuse_unsupported(caller: object) -> None:
    """
    Raises:
        UnsupportedConnection: *caller* is none of the kinds.
    """
    if not (isinstance(caller, Connection | psycopg.Connection) or is_session(caller) or is_async(caller)):
        raise UnsupportedConnection(given=type(caller).__name__)


@contextmanager
def _opened(caller: Caller) -> Iterator[Run]:
    if is_session(caller) or isinstance(caller, Connection):
        yield lambda statement: _on_sqlalchemy(caller, statement)
    elif isinstance(caller, psycopg.Connection):
        with caller.transaction() if _is_between_transactions(caller) else nullcontext():
            yield lambda statement: _on_psycopg(caller, statement)
    else:
        raise UnsupportedConnection(given=type(caller).__name__)


@asynccontextmanager
async def _opened_async(caller: AsyncCaller) -> AsyncIterator[AsyncRun]:
    if is_async_session(caller) or is_async_connection(caller):
        yield lambda statement: _on_async_sqlalchemy(caller, statement)
    elif is_async_psycopg(caller):
        async with caller.transaction() if _is_between_transactions(caller) else nullcontext():
            yield lambda statement: _on_async_psycopg(caller, statement)
    elif is_asyncpg(caller):
        async with nullcontext() if caller.is_in_transaction() else caller.transaction():
            yield lambda statement: _on_asyncpg(caller, statement)
    else:
        raise UnsupportedConnection(given=type(caller).__name__)


def _is_between_transactions(connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> bool:
    """Whether its next statement would commit by itself."""
    return connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE


def _on_sqlalchemy(caller: "Session | Connection", statement: Statement) -> Rows:
    return _rows(caller.execute(statement.text, statement.parameters))


async def _on_async_sqlalchemy(caller: "AsyncSession | AsyncConnection", statement: Statement) -> Rows:
    return _rows(await caller.execute(statement.text, statement.parameters))


def _rows(result: Result[Any]) -> Rows:
    return [tuple(row) for row in result] if isinstance(result, CursorResult) and result.returns_rows else []


def _on_psycopg(connection: psycopg.Connection[Any], statement: Statement) -> Rows:
    """Uses our own cursor class: the connection's may number parameters or return dictionaries."""
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(_for_psycopg(statement.text), statement.parameters)
        return cursor.fetchall() if cursor.description else []


async def _on_async_psycopg(connection: psycopg.AsyncConnection[Any], statement: Statement) -> Rows:
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(_for_psycopg(statement.text), statement.parameters)
        return await cursor.fetchall() if cursor.description else []


async def _on_asyncpg(connection: AsyncpgConnection, statement: Statement) -> Rows:
    text, names = _for_asyncpg(statement.text)
    return [tuple(row) for row in await connection.fetch(text, *(statement.parameters[name] for name in names))]


@lru_cache(maxsize=32)
def _for_psycopg(text: TextClause) -> bytes:
    return str(_compiled(text, "pyformat")).encode()


@lru_cache(maxsize=32)
def _for_asyncpg(text: TextClause) -> tuple[str, tuple[str, ...]]:
    """Its text with $1, $2 …, and the names of these."""
    compiled = _compiled(text, "numeric_dollar")
    return str(compiled), tuple(compiled.positiontup or ())


def _compiled(text: TextClause, paramstyle: str) -> SQLCompiler:
    return text.compile(dialect=PGDialect(paramstyle=paramstyle))  # type: ignore[no-untyped-call]
