"""
Calls a function after the caller's commit.

SQLAlchemy has events: a Session's comes after the commit, a Connection's before it, so that the driver is then watched.
psycopg and asyncpg have none: their connection is watched until its transaction is over.
"""

from collections.abc import Callable, MutableMapping
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, event

from notify.intake.transaction_end import is_over, when_over
from notify.store.connection_kinds import AsyncCaller, Caller, is_async_connection, is_async_session, is_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

Callback = Callable[[], None]
Awaited = MutableMapping[Any, dict[str, Callback]]

_lock = Lock()
_in_sqlalchemy: WeakKeyDictionary[Any, dict[str, Callback]] = WeakKeyDictionary()
# By identity, because nothing can refer weakly to a proxy of asyncpg's pool. What watches a connection keeps it alive.
_in_drivers: dict[int, dict[str, Callback]] = {}
# A listener cannot be removed while it is being called, so each caller keeps its listeners.
_listened_to: WeakSet[Any] = WeakSet()


def after_commit(caller: "Caller | AsyncCaller", callback: Callback, *, name: str = "") -> None:
    """
    Call *callback* once after the caller's commit, however often this is called with *name* before it.

    With psycopg and asyncpg it is also called after a rollback or PREPARE TRANSACTION, and after a minute: good enough
    for doorbells, not for data.
    """
    if is_async_session(caller):
        _after_session(caller.sync_session, callback, name=name)
    elif is_session(caller):
        _after_session(caller, callback, name=name)
    elif is_async_connection(caller):
        _after_connection(caller.sync_connection, callback, name=name)
    elif isinstance(caller, Connection):
        _after_connection(caller, callback, name=name)
    elif _await(_in_drivers, id(caller), callback, name=name):
        when_over(caller, partial(_call, _in_drivers, id(caller)))


def _after_session(session: "Session", callback: Callback, *, name: str) -> None:
    connection = session.connection()

    def committed() -> None:
        """What ended may be a savepoint, or the session may have joined a transaction of its connection."""
        if connection.closed or not connection.in_transaction():
            callback()
        else:
            _after_connection(connection, callback, name=name)

    if _is_over(connection):
        callback()
        return
    _await(_in_sqlalchemy, session, committed, name=name)
    if _is_new(session):
        event.listen(session, "after_commit", _session_committed)
        event.listen(session, "after_transaction_end", _session_ended)


def _after_connection(connection: Connection | None, callback: Callback, *, name: str) -> None:
    if connection is None or _is_over(connection):
        callback()
        return
    _await(_in_sqlalchemy, connection, callback, name=name)
    if _is_new(connection):
        for ending in ("commit", "commit_twophase"):
            event.listen(connection, ending, _committing)
        for ending in ("rollback", "rollback_twophase"):
            event.listen(connection, ending, _rolling_back)


def _is_over(connection: Connection) -> bool:
    """In autocommit mode, what was stored is committed already."""
    return is_over(connection.connection.driver_connection)


def _is_new(caller: object) -> bool:
    with _lock:
        is_new = caller not in _listened_to
        _listened_to.add(caller)
    return is_new


def _session_committed(session: "Session") -> None:
    """SQLAlchemy calls this when a savepoint is released, too; the connection is then still in its transaction."""
    _call(_in_sqlalchemy, session)


def _session_ended(session: "Session", transaction: "SessionTransaction") -> None:
    """What is still awaited now was rolled back."""
    if transaction.parent is None:
        _forget(_in_sqlalchemy, session)


def _committing(connection: Connection, *_: object) -> None:
    for callback in _forget(_in_sqlalchemy, connection).values():
        when_over(connection.connection.driver_connection, callback)


def _rolling_back(connection: Connection, *_: object) -> None:
    _forget(_in_sqlalchemy, connection)


def _await(awaited: Awaited, key: object, callback: Callback, *, name: str) -> bool:
    """Whether nothing was awaited there before."""
    with _lock:
        is_first = key not in awaited
        awaited.setdefault(key, {}).setdefault(name, callback)
    return is_first


def _call(awaited: Awaited, key: object) -> None:
    for callback in _forget(awaited, key).values():
        callback()


def _forget(awaited: Awaited, key: object) -> dict[str, Callback]:
    with _lock:
        return awaited.pop(key, {})
