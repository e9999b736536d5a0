"""Calls a function after the caller's transaction, whichever library the caller's connection comes from."""

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

LONGEST_TRANSACTION_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.0002
LONGEST_PAUSE_SECONDS = 0.05
PENDING_OVER = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}

Act = Callable[[], None]

_lock = Lock()
_awaited: WeakKeyDictionary[Caller, Act] = WeakKeyDictionary()
# A listener cannot be removed while it is being called, so each caller is listened to once and for all.
_listened_to: WeakSet[Caller] = WeakSet()


class DriverConnection(Protocol):
    """The part of a psycopg connection that says whether a transaction is open."""

    @property
    def info(self) -> Any:  # noqa: ANN401 - psycopg's ConnectionInfo, or psycopg2's
        ...


def after_commit(caller: Caller, act: Act) -> None:
    """
    Call *act* once the caller's transaction is over, however many times this is asked of one transaction.

    It may be called after a rollback as well, and not at all after a transaction of more than a
    minute: fit for doorbells, not for facts.
    """
    with _lock:
        awaited, listened_to = caller in _awaited, caller in _listened_to
        _awaited.setdefault(caller, act)
        _listened_to.add(caller)
    if is_session(caller):
        if not listened_to:
            event.listen(caller, "after_transaction_end", _session_ended)
    elif isinstance(caller, Connection):
        if not listened_to:
            event.listen(caller, "commit", _committing)
        if _is_over(caller.connection.driver_connection):
            _act(caller)
    elif not awaited:
        _when_idle(caller, caller)


def _act(caller: Caller) -> None:
    with _lock:
        act = _awaited.pop(caller, None)
    if act:
        act()


def _session_ended(session: "Session", transaction: "SessionTransaction") -> None:
    if transaction.parent is None:
        _act(session)


def _committing(connection: Connection) -> None:
    """SQLAlchemy tells before it commits, so the driver's own word is awaited as well."""
    if connection in _awaited:
        _when_idle(connection.connection.driver_connection, connection)


def _is_over(driver: DriverConnection | None) -> bool:
    return driver is None or driver.info.transaction_status in PENDING_OVER


def _when_idle(driver: DriverConnection | None, caller: Caller) -> None:
    Thread(target=_await_idle, args=(driver, caller), name="after-commit", daemon=True).start()


def _await_idle(driver: DriverConnection | None, caller: Caller) -> None:
    """The transaction status is a field in libpq's memory: reading it beside the owner's statements is safe."""
    gives_up = monotonic() + LONGEST_TRANSACTION_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while not _is_over(driver) and monotonic() < gives_up:
        sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    _act(caller)
