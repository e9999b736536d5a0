"""Applications with a database connection of their own, one for each supported library."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.orm import Session

from notify.store.callers import Rows, Statement, Statements, run
from notify.store.connection_kinds import Caller
from notify.store.urls import with_our_driver

Open = Callable[[str], AbstractContextManager[Caller]]


@contextmanager
def session(url: str) -> Iterator[Session]:
    with Session(create_engine(with_our_driver(url), poolclass=pool.NullPool)) as opened:
        yield opened


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    with create_engine(with_our_driver(url), poolclass=pool.NullPool).connect() as opened:
        yield opened


@contextmanager
def autocommit_connection(url: str) -> Iterator[Connection]:
    engine = create_engine(with_our_driver(url), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as opened:
        yield opened


def driver(**options: Any) -> Open:
    """A psycopg connection with these options, closed without a commit."""

    @contextmanager
    def opened(url: str) -> Iterator[psycopg.Connection[Any]]:
        found = psycopg.connect(url, **options)
        try:
            yield found
        finally:
            found.close()

    return opened


TRANSACTIONAL: dict[str, Open] = {
    "session": session,
    "connection": connection,
    "psycopg": driver(),
    "psycopg with rows as dicts": driver(row_factory=dict_row),
    "psycopg with rows as named tuples": driver(row_factory=namedtuple_row),
    "psycopg with client-side binding": driver(cursor_factory=psycopg.ClientCursor),
    "psycopg with numbered parameters": driver(cursor_factory=psycopg.RawCursor),
}
AUTOCOMMIT: dict[str, Open] = {
    "autocommit connection": autocommit_connection,
    "autocommit psycopg": driver(autocommit=True),
    "autocommit psycopg with rows as dicts": driver(autocommit=True, row_factory=dict_row),
}
EVERY = {**TRANSACTIONAL, **AUTOCOMMIT}
ONE_OF_EACH: dict[str, Open] = {name: TRANSACTIONAL[name] for name in ("session", "connection", "psycopg")}


def execute(caller: Caller, statement: str) -> Rows:
    """The rows of this statement, in the caller's transaction."""
    return run(caller, one(statement))


def one(statement: str) -> Statements[Rows]:
    rows = yield Statement(text(statement), {})
    return rows
