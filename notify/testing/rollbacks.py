"""Watches a caller's transactions, so that what was recorded in one is dropped when it is rolled back."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Executable, event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.elements import SavepointClause

from notify.recording import OpenTransaction

Undone = Callable[[], bool]


class Watches:
    """The transactions of every caller. Of a bare psycopg or asyncpg connection a rollback cannot be seen."""

    def __init__(self) -> None:
        self._watches: WeakKeyDictionary[object, Watch] = WeakKeyDictionary()

    def undone(self, caller: object) -> Undone:
        """A function that says whether what is recorded now has been rolled back."""
        if isinstance(caller, OpenTransaction):
            return caller.watch()
        known = getattr(caller, "sync_session", None) or getattr(caller, "sync_connection", None) or caller
        if not isinstance(known, Session | Connection):
            return lambda: False
        if not known.in_transaction():
            known.begin()  # as the statement would that is not executed here
        if known not in self._watches:
            self._watches[known] = SessionWatch(known) if isinstance(known, Session) else ConnectionWatch(known)
        return self._watches[known].add()

    def stop(self) -> None:
        for watch in self._watches.values():
            watch.stop()


class Watch:
    """What was recorded in one caller's open transaction, as flags that are set by a rollback."""

    def __init__(self) -> None:
        self._open: list[list[bool]] = []
        self._begun_at: dict[object, int] = {}
        self._listeners: list[tuple[object, str, Callable[..., None]]] = []

    def add(self) -> Undone:
        flag: list[bool] = []
        self._open.append(flag)
        return lambda: bool(flag)

    def stop(self) -> None:
        for listener in self._listeners:
            event.remove(*listener)

    def _listen(self, target: object, name: str, listener: Callable[..., None]) -> None:
        event.listen(target, name, listener)
        self._listeners.append((target, name, listener))

    def _begin(self, savepoint: object) -> None:
        self._begun_at[savepoint] = len(self._open)

    def _commit(self) -> None:
        self._open.clear()
        self._begun_at.clear()

    def _roll_back(self, savepoint: object = None) -> None:
        """To this savepoint; one from before the watch began holds everything that is open, as does None."""
        begun_at = self._begun_at.pop(savepoint, 0)
        for flag in self._open[begun_at:]:
            flag.append(True)
        del self._open[begun_at:]


class SessionWatch(Watch):
    """A Session's transaction that ends without a commit was rolled back, whoever ended it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._released: set[SessionTransaction] = set()
        self._listen(session, "after_transaction_create", self._created)
        self._listen(session, "after_commit", self._committed)
        self._listen(session, "after_transaction_end", self._ended)

    def _created(self, _: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self._begin(transaction)

    def _committed(self, session: Session) -> None:
        nested = session.get_nested_transaction()
        if nested is None:
            self._commit()
        else:
            self._released.add(nested)

    def _ended(self, _: Session, transaction: SessionTransaction) -> None:
        if transaction in self._released:
            self._released.discard(transaction)
        elif transaction.nested:
            self._roll_back(transaction)
        elif transaction.parent is None:
            self._roll_back()


class ConnectionWatch(Watch):
    """A Connection tells of each end; closing it is a rollback."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        # SQLAlchemy names a savepoint only after its own event for it.
        self._listen(connection, "before_execute", self._executing)
        self._listen(connection, "rollback_savepoint", lambda _, name, __: self._roll_back(name))
        self._listen(connection, "commit", lambda _: self._commit())
        self._listen(connection, "rollback", lambda _: self._roll_back())
        self._listen(connection, "commit_twophase", lambda *_: self._commit())
        self._listen(connection, "rollback_twophase", lambda *_: self._roll_back())

    def _executing(self, _: Connection, statement: Executable, *__: object) -> None:
        if isinstance(statement, SavepointClause):
            self._begin(statement.ident)
