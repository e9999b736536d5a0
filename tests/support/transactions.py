"""An application's transactions on every kind of connection that notify takes, all with the same methods."""

import sys
from asyncio import AbstractEventLoop, new_event_loop, run_coroutine_threadsafe
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from threading import Thread
from typing import Any, Protocol

import asyncpg
import psycopg
from sqlalchemy import create_engine, make_url, pool, text
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

import notify
from notify.domain.ports import Doorbell

SECONDS = 30


class Library(Protocol):
    """What an application does with a connection, besides handing it to notify."""

    caller: Any

    def begin(self) -> Any: ...

    def commit(self) -> Any: ...

    def rollback(self) -> Any: ...

    def savepoint(self) -> Any:
        """A context manager: released at the end of the block, rolled back to if that raises."""

    def execute(self, statement: str) -> Any: ...


@dataclass
class SqlAlchemy:
    caller: Any

    def begin(self) -> Any:
        """It does so itself."""

    def commit(self) -> Any:
        return self.caller.commit()

    def rollback(self) -> Any:
        return self.caller.rollback()

    def savepoint(self) -> Any:
        return self.caller.begin_nested()

    def execute(self, statement: str) -> Any:
        return self.caller.execute(text(statement))


class Psycopg(SqlAlchemy):
    def savepoint(self) -> Any:
        return self.caller.transaction()

    def execute(self, statement: str) -> Any:
        return self.caller.execute(statement)


class Asyncpg(Psycopg):
    """Its transactions are objects."""

    _transaction: Any = None

    async def begin(self) -> None:
        if self._transaction is None:
            self._transaction = self.caller.transaction()
            await self._transaction.start()

    def commit(self) -> Any:
        ending, self._transaction = self._transaction, None
        return ending.commit()

    def rollback(self) -> Any:
        ending, self._transaction = self._transaction, None
        return ending.rollback()


class AutocommitAsyncpg(Asyncpg):
    async def begin(self) -> None:
        """It does not."""


@dataclass
class Application:
    """An application with one connection. Its methods block; what they do happens in the event loop of a thread."""

    library: Library
    loop: AbstractEventLoop

    def emit(self, event: Mapping[str, Any], *, doorbell: Doorbell) -> Any:
        self._do(self.library.begin)
        return self._do(lambda: notify.emit(self.library.caller, event, doorbell=doorbell))

    def publish(self, status: Mapping[str, Any], *, doorbell: Doorbell) -> Any:
        self._do(self.library.begin)
        return self._do(lambda: notify.publish(self.library.caller, status, doorbell=doorbell))

    def withdraw(self, key: str) -> Any:
        self._do(self.library.begin)
        return self._do(lambda: notify.withdraw(self.library.caller, key))

    def commit(self) -> None:
        self._do(self.library.commit)

    def rollback(self) -> None:
        self._do(self.library.rollback)

    def execute(self, statement: str) -> None:
        self._do(partial(self.library.execute, statement))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        block = self._do(self.library.savepoint)
        enter, leave = ("__aenter__", "__aexit__") if hasattr(block, "__aenter__") else ("__enter__", "__exit__")
        self._do(getattr(block, enter))
        try:
            yield
        except BaseException:
            self._do(partial(getattr(block, leave), *sys.exc_info()))
            raise
        self._do(partial(getattr(block, leave), None, None, None))

    def _do(self, action: Callable[[], Any]) -> Any:
        async def done() -> Any:
            returned = action()
            # A session of SQLAlchemy's can be awaited or entered.
            return await returned if isawaitable(returned) and not hasattr(returned, "__aenter__") else returned

        return run_coroutine_threadsafe(done(), self.loop).result(SECONDS)


Open = Callable[[str], AbstractAsyncContextManager[Library]]


def _on(url: str, driver: str) -> Any:
    return make_url(url).set(drivername=f"postgresql+{driver}")


def session(*, scoped: bool = False, twophase: bool = False, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        engine = create_engine(_on(url, "psycopg"), poolclass=pool.NullPool, **options)
        made = sessionmaker(engine, twophase=twophase)
        with closing(scoped_session(made) if scoped else made()) as found:
            yield SqlAlchemy(found)

    return opened


def connection(**options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        with create_engine(_on(url, "psycopg"), poolclass=pool.NullPool, **options).connect() as found:
            yield SqlAlchemy(found)

    return opened


def async_session(driver: str, *, scoped: bool = False, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        made = async_sessionmaker(create_async_engine(_on(url, driver), poolclass=pool.NullPool, **options))
        found = async_scoped_session(made, lambda: None) if scoped else made()
        try:
            yield SqlAlchemy(found)
        finally:
            await found.close()

    return opened


def async_connection(driver: str, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        async with create_async_engine(_on(url, driver), poolclass=pool.NullPool, **options).connect() as found:
            yield SqlAlchemy(found)

    return opened


def of_psycopg(**options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        with closing(psycopg.connect(url, **options)) as found:
            yield Psycopg(found)

    return opened


def of_async_psycopg(**options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        found = await psycopg.AsyncConnection.connect(url, **options)
        try:
            yield Psycopg(found)
        finally:
            await found.close()

    return opened


def of_asyncpg(*, autocommit: bool = False, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Library]:
        found = await asyncpg.connect(url, **options)
        try:
            yield AutocommitAsyncpg(found) if autocommit else Asyncpg(found)
        finally:
            await found.close()

    return opened


@asynccontextmanager
async def of_asyncpgs_pool(url: str) -> AsyncIterator[Library]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as connections, connections.acquire() as found:
        yield Asyncpg(found)


# SQLAlchemy tells of a rollback; the drivers do not.
TELL_OF_ROLLBACKS: dict[str, Open] = {
    "Session": session(),
    "scoped_session": session(scoped=True),
    "Connection": connection(),
    "AsyncSession on psycopg": async_session("psycopg"),
    "AsyncSession on asyncpg": async_session("asyncpg"),
    "async_scoped_session": async_session("asyncpg", scoped=True),
    "Session with two phases": session(twophase=True),
    "AsyncConnection on psycopg": async_connection("psycopg"),
    "AsyncConnection on asyncpg": async_connection("asyncpg"),
}
KINDS: dict[str, Open] = {
    **TELL_OF_ROLLBACKS,
    "psycopg": of_psycopg(),
    "psycopg without prepared statements": of_psycopg(prepare_threshold=None),
    "async psycopg": of_async_psycopg(),
    "async psycopg without prepared statements": of_async_psycopg(prepare_threshold=None),
    "asyncpg": of_asyncpg(),
    "asyncpg without a statement cache": of_asyncpg(statement_cache_size=0),
    "asyncpg's pool": of_asyncpgs_pool,
}
AUTOCOMMIT: dict[str, Open] = {
    "Session": session(isolation_level="AUTOCOMMIT"),
    "Connection": connection(isolation_level="AUTOCOMMIT"),
    "AsyncSession on asyncpg": async_session("asyncpg", isolation_level="AUTOCOMMIT"),
    "AsyncConnection on psycopg": async_connection("psycopg", isolation_level="AUTOCOMMIT"),
    "AsyncConnection on asyncpg": async_connection("asyncpg", isolation_level="AUTOCOMMIT"),
    "psycopg": of_psycopg(autocommit=True),
    "async psycopg": of_async_psycopg(autocommit=True),
    "asyncpg": of_asyncpg(autocommit=True),
}


@contextmanager
def event_loop() -> Iterator[AbstractEventLoop]:
    """A loop that runs in a thread until the end of the block."""
    loop = new_event_loop()
    thread = Thread(target=loop.run_forever, name="application", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


@contextmanager
def application(kind: Open, url: str, loop: AbstractEventLoop) -> Iterator[Application]:
    """It closes its connection at the end of the block without a commit."""
    opened = kind(url)
    library = run_coroutine_threadsafe(opened.__aenter__(), loop).result(SECONDS)
    try:
        yield Application(library, loop)
    finally:
        run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(SECONDS)
