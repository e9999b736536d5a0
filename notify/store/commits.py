"""Whether a transaction took place whose commit was never answered."""

from sqlalchemy import Connection, text

COMMITTED = "committed"
IN_PROGRESS = "in progress"

_NAME = text("SELECT CAST(pg_current_xact_id() AS text)")
_STATUS = text("SELECT pg_xact_status(CAST(:name AS xid8))")


def name(connection: Connection) -> str:
    """What names the connection's present transaction for ever."""
    return str(connection.scalar(_NAME))


def took_place(connection: Connection, name: str) -> bool | None:
    """Whether that transaction was committed; None while its session still works on it."""
    status = connection.scalar(_STATUS, {"name": name})
    return None if status == IN_PROGRESS else status == COMMITTED
