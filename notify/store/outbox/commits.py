"""
Whether a transaction took place whose commit was never answered.

A name means nothing on another server: a replica that has been promoted gives the names again that the primary
gave last and did not pass on. Who asks after an outage has to look at the rows besides.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError

COMMITTED = "committed"
IN_PROGRESS = "in progress"
IN_THE_FUTURE = "22023"

_NAME = text("SELECT CAST(pg_current_xact_id() AS text)")
_STATUS = text("SELECT pg_xact_status(CAST(:name AS xid8))")


def name(connection: Connection) -> str:
    """What names the connection's present transaction as long as this server lives."""
    return str(connection.scalar(_NAME))


def took_place(connection: Connection, name: str) -> bool | None:
    """Whether that transaction was committed; None while its session still works on it."""
    try:
        with connection.begin_nested():
            status = connection.scalar(_STATUS, {"name": name})
    except DataError as error:
        if getattr(error.orig, "sqlstate", None) != IN_THE_FUTURE:
            raise
        return False
    return None if status == IN_PROGRESS else status == COMMITTED
