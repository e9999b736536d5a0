"""Publishes what is wanted on commits, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from notify.statuses.schema import StatusIn
from notify.store.callers import Statements, run
from notify.store.connection_kinds import Caller
from notify.store.statuses import publishing as store
from notify.store.statuses.publishing import PublishReceipt


def publish(caller: Caller, given: Sequence[StatusIn]) -> list[PublishReceipt]:
    """
    Store what is wanted, however many there are with the same statements; a receipt for each. The caller commits.

    Of several statuses for one target the last counts. The target stays locked until the transaction ends: another
    that publishes to it waits.

    Args:
        caller: A SQLAlchemy Session or Connection, or a psycopg Connection.

    Raises:
        UnsupportedConnection: *caller* is something else.
    """
    return run(caller, publishing(given))


def publishing(given: Sequence[StatusIn]) -> Statements[list[PublishReceipt]]:
    """The statements of ``publish``, for any connection."""
    return store.put([_row(one) for one in given])


def _row(status: StatusIn) -> Mapping[str, Any]:
    return status.model_dump(mode="json")
