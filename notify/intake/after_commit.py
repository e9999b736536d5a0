"""Calls a function when the caller's transaction is over, with SQLAlchemy or psycopg."""

from collections.abc import Callable
from threading import Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event

from notify.store.database import Caller, is_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

MAX_TRANSACTION_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.0002
MAX_PAUSE_SECONDS = 0.05
FINISHED = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}

Callback = Callable[[], None]

_lock = Lock()
_awaited: WeakKeyDictionary[Caller, dict[str, Callback]] = WeakKeyDictionary()
# A listener cannot be removed while it is being called, so each caller keeps its listener.
_listened_to: WeakSet[Caller] = WeakSet()


class DriverConnection(Protocol):
    """A psycopg connection, as far as needed to see whether a transaction is open."""

    @property
    def info(self) -> Any:  # noqa: ANN401 - psycopg's ConnectionInfo, or psycopg2's
        ...


def after_commit(caller: Caller, callback: Callback, *, name: str = "") -> None:
    """
    Call *callback* once when the caller's transaction is over, however often this is called with *name* during it.

    It may also be called after a rollback, and is not called after a transaction of more than a minute: good enough
    for doorbells, not for data.
    """
    with _lock:
        awaited, listened_to = caller in _awaited, caller in _listened_to
        _awaited.setdefault(caller, {}).setdefault(name, callback)
        _listened_to.add(caller)
    if is_session(caller):
        if not listened_to:
            event.listen(caller, "after_transaction_end", _session_ended)
    elif isinstance(caller, Connection):
        if not listened_to:
            event.listen(caller, "commit", _committing)
        if _is_over(caller.connection.driver_connection):
            _call(caller)
    elif not awaited:
        _when_idle(caller, caller)


def _call(caller: Caller) -> None:
    with _lock:
        callbacks = _awaited.pop(caller, {})
    for callback in callbacks.values():
        callback()


def _session_ended(session: "Session", transaction: "SessionTransaction") -> None:
    if transaction.parent is None:
        _call(session)


def _committing(connection: Connection) -> None:
    """SQLAlchemy calls this before it commits, so wait for the driver to be idle."""
    if connection in _awaited:
        _when_idle(connection.connection.driver_connection, connection)


def _is_over(driver: DriverConnection | None) -> bool:
    return driver is None or driver.info.transaction_status in FINISHED


def _when_idle(driver: DriverConnection | None, caller: Caller) -> None:
    Thread(target=_await_idle, args=(driver, caller), name="after-commit", daemon=True).start()


def _await_idle(driver: DriverConnection | None, caller: Caller) -> None:
    """The transaction status is a field in libpq's memory, so another thread may read it safely."""
    deadline = monotonic() + MAX_TRANSACTION_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while not _is_over(driver) and monotonic() < deadline:
        sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE_SECONDS)
    _call(caller)
