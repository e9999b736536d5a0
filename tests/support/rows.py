"""Rows that are simply there: the states from which a test begins, whoever may have written them."""

from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, func, insert, literal, select, update

from notify.domain.events import COMMENT_CREATED
from notify.store.database import Database
from notify.store.tables import email_jobs, events

FINAL_EVENT = ("done", "dead")
FINAL_LETTER = ("sent", "skipped", "dead", "expired", "cancelled")

_numbers = count(1)


def ago(**parts: float) -> ColumnElement[Any]:
    """An instant so long before the database's now."""
    return func.now() - literal(timedelta(**parts))


def ended(status: str, *, at: object = None) -> dict[str, Any]:
    """The columns of a row that has reached this final status, now or at another instant."""
    return {"status": status, "due_at": None, "finished_at": func.now() if at is None else at}


def event(connection: Connection, **columns: Any) -> int:
    """A pending event, due now; its id."""
    defaults = {"key": f"event-{next(_numbers)}", "type": COMMENT_CREATED, "cl_link": "CL-1", "actor": "dana"}
    return _insert(connection, events, {**defaults, **columns})


def letter(connection: Connection, **columns: Any) -> int:
    """A pending letter to alice, due now, about an event of its own; its id."""
    defaults: dict[str, Any] = {
        "event_type": COMMENT_CREATED,
        "cl_link": "CL-1",
        "username": "alice",
        "to_email": "alice@example.com",
        "reason": "author",
        "message_id": f"letter-{next(_numbers)}@review.example",
    }
    if columns.get("status") in {"skipped", "dead"}:
        defaults["outcome_reason"] = "test"
    if "event_id" not in columns:
        defaults["event_id"] = event(connection, **ended("done"))
    return _insert(connection, email_jobs, {**defaults, **columns})


def row(database: Database, table: Table, row_id: int) -> RowMapping:
    """The whole row as it stands."""
    with database.begin() as connection:
        return connection.execute(select(table).where(table.c.id == row_id)).mappings().one()


def count_of(database: Database, table: Table) -> int:
    """How many rows the table has."""
    with database.begin() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def change(database: Database, table: Table, row_id: int, **columns: Any) -> None:
    """Make the row say this."""
    with database.begin() as connection:
        connection.execute(update(table).where(table.c.id == row_id).values(**columns))


def let_lease_end(database: Database, table: Table, row_id: int) -> None:
    """What time does to a row whose worker has vanished."""
    change(database, table, row_id, due_at=ago(seconds=1))


def _insert(connection: Connection, table: Table, columns: dict[str, Any]) -> int:
    row_id: int = connection.execute(insert(table).values(**columns).returning(table.c.id)).scalar_one()
    return row_id
