"""
Whether a transaction was committed whose commit was never confirmed.

A promoted replica may assign the old primary's last transaction ids again, so callers must check the rows as well.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError

COMMITTED = "committed"
IN_PROGRESS = "in progress"
IN_THE_FUTURE = "22023"

_ID = text("SELECT CAST(pg_current_xact_id() AS text)")
_STATUS = text("SELECT pg_xact_status(CAST(:id AS xid8))")


def transaction_id(connection: Connection) -> str:
    """The id of the current transaction."""
    return str(connection.scalar(_ID))


def is_committed(connection: Connection, id_: str) -> bool | None:
    """Whether that transaction was committed; None: it is still in progress."""
    try:
        with connection.begin_nested():
            status = connection.scalar(_STATUS, {"id": id_})
    except DataError as error:
        if getattr(error.orig, "sqlstate", None) != IN_THE_FUTURE:
            raise
        return False
    return None if status == IN_PROGRESS else status == COMMITTED
