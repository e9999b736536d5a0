"""Inserts rows for a test to start from."""

from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, delete, func, insert, literal, select, update

from notify.domain.claims import Lane
from notify.domain.events import COMMENT_CREATED
from notify.domain.stages import DELIVER, FAN_OUT, INBOX, RECONCILE, STATUSES
from notify.store.database import Database
from notify.store.tables.emails import email_jobs, events, notifications, work_items
from notify.store.tables.forges import forge_repositories, webhook_deliveries
from notify.store.tables.statuses import commit_statuses

FINAL_EVENT = ("done", "dead", "withdrawn")
FINAL_JOB = ("sent", "skipped", "dead", "expired", "cancelled", "withdrawn")

# Every finished event is to be fanned out again.
FAN_OUT_AGAIN = """
    INSERT INTO notify.work_items (stage, id, lane, order_key)
    SELECT 'fan_out', id, 1, topic FROM notify.events WHERE status = 'done';
    UPDATE notify.events SET status = 'pending', finished_at = NULL WHERE status = 'done'
"""

_numbers = count(1)


def ago(**parts: float) -> ColumnElement[Any]:
    """An instant this long before the database's now."""
    return func.now() - literal(timedelta(**parts))


def ended(status: str, *, at: object = None) -> dict[str, Any]:
    """The columns of a row that reached this final status now, or at another instant."""
    return {"status": status, "finished_at": func.now() if at is None else at}


def event(connection: Connection, **columns: Any) -> int:
    """
    Insert a pending event, due now, and its work item, unless it has ended; its id.

    Columns of the work item go there: ``priority`` is its lane, and ``status`` *working* means that it is leased.
    """
    defaults = {"key": f"event-{next(_numbers)}", "type": COMMENT_CREATED, "topic": "CL-1", "actor": "dana"}
    status = columns.pop("status", "pending")
    stored = "pending" if status == "working" else status
    own = {name: value for name, value in columns.items() if name in events.c}
    row_id = _insert(connection, events, {**defaults, "status": stored, **_born(own), **own})
    if status in {"done", "withdrawn"}:
        return row_id
    made = _item_of(
        connection,
        FAN_OUT,
        row_id,
        status,
        {"max_failures": 10, "order_key": own.get("topic", "CL-1"), **columns},
        reason=columns.get("last_error", "test"),
    )
    reason = columns.get("last_error") or columns.get("reason")
    if reason and status != "dead":
        connection.execute(update(work_items).where(*_named(FAN_OUT, row_id)).values(reason=reason))
    return made


def item(connection: Connection, stage: str, row_id: int, **columns: Any) -> int:
    """Insert a work item that is due now; its id."""
    values = {"stage": stage, "id": row_id, "lane": Lane.NORMAL, **columns}
    connection.execute(insert(work_items).values({**values, "lane": int(values["lane"])}))
    return row_id


def item_of(database: Database, stage: str, row_id: int) -> RowMapping | None:
    """The work item; null once it is settled."""
    with database.begin() as connection:
        return connection.execute(select(work_items).where(*_named(stage, row_id))).mappings().one_or_none()


def change_item(database: Database, stage: str, row_id: int, **columns: Any) -> None:
    """Set these columns of the work item."""
    with database.begin() as connection:
        connection.execute(update(work_items).where(*_named(stage, row_id)).values(**columns))


def forget_item(database: Database, stage: str, row_id: int) -> None:
    """Delete the work item."""
    with database.begin() as connection:
        connection.execute(delete(work_items).where(*_named(stage, row_id)))


def job(connection: Connection, **columns: Any) -> int:
    """
    Insert a pending email to alice, due now, about an event of its own, and its work item unless it has ended; its id.

    Columns of the notification and of the work item go there: ``priority`` is its lane, and ``status`` *sending* means
    that it is leased. A replay has no notification of its own.
    """
    defaults: dict[str, Any] = {
        "topic": "CL-1",
        "username": "alice",
        "to_email": "alice@example.com",
        "message_id": f"email-{next(_numbers)}@review.example",
    }
    status = columns.pop("status", "pending")
    if status in {"skipped", "dead"}:
        defaults["outcome_reason"] = "test"
    stored = "pending" if status == "sending" else status
    ended_as = (
        {"attempts": columns.get("attempt", 0), "lapses": columns.get("lapses", 0)} if stored != "pending" else {}
    )
    own = {name: value for name, value in columns.items() if name in email_jobs.c and name != "lapses"}
    row_id = _insert(connection, email_jobs, {**defaults, **ended_as, **_born(own), "status": stored, **own})
    if "replay_of" not in columns:
        event_id = columns.get("event_id") or event(
            connection, **ended("done"), topic=own.get("topic") or "CL-1", **_only(columns, "type", "payload")
        )
        told = {"username": own.get("username", "alice"), **_only(columns, "event_type", "reason")}
        notification(connection, event_id=event_id, email_job_id=row_id, **told)
    if stored not in {"pending", "dead"}:
        return row_id
    return _item_of(connection, DELIVER, row_id, status, columns, reason=own.get("outcome_reason", "test"))


def notification(connection: Connection, **columns: Any) -> int:
    """Insert alice's notification of an event: told by this job, or skipped without one; its id."""
    told = columns.get("email_job_id") is not None
    defaults: dict[str, Any] = {"username": "alice", "event_type": COMMENT_CREATED, "reason": "author"}
    defaults |= {"decision": "told", "why": "default"} if told else {"decision": "skipped", "why": "muted_all"}
    if "event_id" not in columns:
        defaults["event_id"] = event(connection, **ended("done"))
    return _insert(connection, notifications, {**defaults, **columns})


def delivery(connection: Connection, **columns: Any) -> int:
    """Insert a pending webhook delivery and its work item with these columns. Returns its id."""
    number = next(_numbers)
    came = {"delivery_id": f"delivery-{number}", "event": "ping", "body": b"{}", "content_type": "application/json"}
    return item(connection, INBOX, _insert(connection, webhook_deliveries, {"forge": "github", **came}), **columns)


def repository(connection: Connection, **columns: Any) -> int:
    """Insert a repository that was never swept, and its work item with these columns; its id."""
    number = next(_numbers)
    named = {"forge": "github", "forge_id": number, "full_name": f"acme/app-{number}"}
    return item(connection, RECONCILE, _insert(connection, forge_repositories, named), **columns)


def status(connection: Connection, **columns: Any) -> int:
    """Insert a status that waits to be shown, and its work item with these columns; its id."""
    target = {"forge": "github", "repository": "acme/app", "sha": "a" * 40, "context": f"ci/{next(_numbers)}"}
    wanted = {"kind": "status", "state": "success", "wanted_version": 1}
    return item(connection, STATUSES, _insert(connection, commit_statuses, {**target, **wanted}), **columns)


def _only(columns: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: columns[name] for name in names if name in columns}


def _born(columns: dict[str, Any]) -> dict[str, Any]:
    """When a row was written that ended at an instant."""
    return {"created_at": columns["finished_at"]} if columns.get("finished_at") is not None else {}


def _item_of(
    connection: Connection, stage: str, row_id: int, status: str, columns: dict[str, Any], *, reason: str
) -> int:
    """Insert the work item of a row with this status, with those of the columns that belong to it."""
    of_item = {name: value for name, value in columns.items() if name in work_items.c and name != "reason"}
    more: dict[str, Any] = {"lane": columns.get("priority", Lane.NORMAL), "max_failures": 12}
    if columns.get("lapses"):
        more["lane"] = Lane.LAPSED
    if status in {"sending", "working"}:
        more |= {"lane": Lane.LEASED, "leased_by": UUID(int=1)}
    if status == "dead":
        of_item.pop("due_at", None)
        more |= {"lane": Lane.DEAD, "due_at": columns["finished_at"], "reason": reason}
    if of_item.get("lane") == Lane.DEAD:
        more["reason"] = "test"
    return item(connection, stage, row_id, **{**more, **of_item})


def row(database: Database, table: Table, row_id: int) -> RowMapping:
    """The whole row."""
    with database.begin() as connection:
        return connection.execute(select(table).where(table.c.id == row_id)).mappings().one()


def count_of(database: Database, table: Table) -> int:
    with database.begin() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def change(database: Database, table: Table, row_id: int, **columns: Any) -> None:
    """Set these columns of the row."""
    with database.begin() as connection:
        connection.execute(update(table).where(table.c.id == row_id).values(**columns))


def end_job(database: Database, row_id: int, status: str, **columns: Any) -> None:
    """Set the job to this final status, now."""
    because = {"outcome_reason": "test"} if status in {"skipped", "dead"} else {}
    change(database, email_jobs, row_id, **{"status": status, "finished_at": func.now(), **because, **columns})
    if status == "dead":
        change_item(database, DELIVER, row_id, lane=Lane.DEAD, due_at=func.now(), reason="test")
        return
    with database.begin() as connection:
        connection.execute(delete(work_items).where(*_named(DELIVER, row_id)))


def let_lease_end(database: Database, stage: str, row_id: int) -> None:
    """End the lease of an item whose worker has vanished."""
    change_item(database, stage, row_id, due_at=ago(seconds=1))


def _named(stage: str, row_id: int) -> tuple[ColumnElement[bool], ...]:
    return work_items.c.stage == stage, work_items.c.id == row_id


def _insert(connection: Connection, table: Table, columns: dict[str, Any]) -> int:
    row_id: int = connection.execute(insert(table).values(**columns).returning(table.c.id)).scalar_one()
    return row_id
