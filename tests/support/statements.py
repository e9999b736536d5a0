"""The statements that SQLAlchemy sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from notify.store.database import Database


@dataclass(frozen=True, slots=True)
class Sent:
    """One statement and its parameters."""

    sql: str
    parameters: Any


@contextmanager
def statements(database: Database) -> Iterator[list[Sent]]:
    """Records the statements sent over this database's connections while the block runs."""
    collected: list[Sent] = []

    def collect(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        collected.append(Sent(sql, parameters))

    event.listen(database.engine, "before_cursor_execute", collect)
    try:
        yield collected
    finally:
        event.remove(database.engine, "before_cursor_execute", collect)
