"""
The kinds of connections that applications hand us, told apart without an import.

An application that has a connection has imported its library; others must not pay for it (the ORM is 6 MB).
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session
    from typing_extensions import TypeIs


class AsyncpgConnection(Protocol):
    """A connection of asyncpg, which is not typed, or its pool's proxy for one."""

    async def fetch(self, query: str, *args: str) -> Sequence[Sequence[Any]]: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    def transaction(self) -> "AbstractAsyncContextManager[object, None]": ...


Caller: TypeAlias = "Session | Connection | psycopg.Connection[Any]"
AsyncCaller: TypeAlias = "AsyncSession | AsyncConnection | psycopg.AsyncConnection[Any] | AsyncpgConnection"
AnyCaller: TypeAlias = "Caller | scoped_session[Any]"
AnyAsyncCaller: TypeAlias = "AsyncCaller | async_scoped_session[Any]"


def is_session(caller: object) -> "TypeIs[Session]":
    return isinstance(caller, _imported("sqlalchemy.orm", "Session"))


def is_async_session(caller: object) -> "TypeIs[AsyncSession]":
    return isinstance(caller, _imported("sqlalchemy.ext.asyncio", "AsyncSession"))


def is_async_connection(caller: object) -> "TypeIs[AsyncConnection]":
    """Whether it is SQLAlchemy's."""
    return isinstance(caller, _imported("sqlalchemy.ext.asyncio", "AsyncConnection"))


def is_async_psycopg(caller: object) -> "TypeIs[psycopg.AsyncConnection[Any]]":
    return isinstance(caller, _imported("psycopg", "AsyncConnection"))


def is_asyncpg(caller: object) -> "TypeIs[AsyncpgConnection]":
    kinds = (*_imported("asyncpg.connection", "Connection"), *_imported("asyncpg.pool", "PoolConnectionProxy"))
    return isinstance(caller, kinds)


def is_async(caller: object) -> "TypeIs[AnyAsyncCaller]":
    kinds = (is_async_session, is_async_connection, is_async_psycopg, is_asyncpg, _is_async_scoped)
    return any(is_kind(caller) for is_kind in kinds)


def unscoped(caller: "AnyCaller") -> Caller:
    """The session of a scoped_session; anything else is returned as it is."""
    return caller() if _is_scoped(caller) else caller


def async_unscoped(caller: "AnyAsyncCaller") -> AsyncCaller:
    """The session of an async_scoped_session; anything else is returned as it is."""
    return caller() if _is_async_scoped(caller) else caller


def released() -> tuple[type[Exception], ...]:
    """What asyncpg raises where a connection has gone back to its pool."""
    return _imported("asyncpg", "InterfaceError")


def _is_scoped(caller: object) -> "TypeIs[scoped_session[Any]]":
    return isinstance(caller, _imported("sqlalchemy.orm", "scoped_session"))


def _is_async_scoped(caller: object) -> "TypeIs[async_scoped_session[Any]]":
    return isinstance(caller, _imported("sqlalchemy.ext.asyncio", "async_scoped_session"))


def _imported(module: str, name: str) -> tuple[Any, ...]:
    """The class, if the module was imported."""
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)
