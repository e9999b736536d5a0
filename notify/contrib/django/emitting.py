"""Stores and withdraws events, and stores statuses, in Django's transaction, on Django's own connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe
from psycopg import Connection

from notify import recording
from notify.contrib.django.configuration import process_doorbell
from notify.domain.errors import NotifyError, UnsupportedConnection
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, STATUSES
from notify.domain.statuses import Status
from notify.intake import schema
from notify.intake.receive import receive
from notify.intake.schema import EventIn
from notify.intake.withdraw import Withdrawal
from notify.intake.withdraw import withdraw as store_withdrawal
from notify.statuses import schema as status_schema
from notify.statuses.publish import publish as store
from notify.statuses.schema import StatusIn
from notify.store.outbox.events import Receipt
from notify.store.statuses.publishing import PublishReceipt
from notify.tracing import current_traceparent

POSTGRESQL = "postgresql"


class NotInAtomicBlock(NotifyError):
    """
    Emit inside transaction.atomic(), so that the event is committed with the change it tells of, or not at all.

    A TestCase's own block does not count: in production there is none.
    """


class UnsupportedDatabase(UnsupportedConnection):
    """notify emits into a database of DATABASES that is PostgreSQL, by way of psycopg 3."""


@async_unsafe
def emit(
    event: EventIn | Mapping[str, Any], using: str = DEFAULT_DB_ALIAS, *, doorbell: Doorbell | None = None
) -> Receipt:
    """
    Store an event in the open ``atomic()`` block: it exists once that is committed, and never if it is rolled back.

    The receipt is that of ``notify.emit``. Workers are notified by ``transaction.on_commit``. An async view calls it,
    with the block, in a function that it hands to ``sync_to_async``.

    Args:
        using: The alias in DATABASES of the database with the schema ``notify``.
        doorbell: Defaults to that of Django's setting NOTIFY and of the environment.

    Raises:
        MalformedEvent: Names the wrong field and why; nothing was stored.
        NotInAtomicBlock: No ``atomic()`` block is open on this database.
        UnsupportedDatabase: It is not PostgreSQL by way of psycopg 3.
    """
    parsed, block = schema.parse(event), _open_block(using)
    if recording.recorder is not None:
        return recording.recorder.emit(block, parsed)
    with block.connection.wrap_database_errors:
        (receipt,) = receive(block.driver(), [parsed], traceparent=current_traceparent())
    if not receipt.duplicate:
        block.ring(doorbell or process_doorbell(), FAN_OUT)
    return receipt


@async_unsafe
def publish(
    status: Status | StatusIn | Mapping[str, Any], using: str = DEFAULT_DB_ALIAS, *, doorbell: Doorbell | None = None
) -> PublishReceipt:
    """
    Store what is to be shown on a commit, in the open ``atomic()`` block, as ``notify.publish`` does.

    Args:
        using: As in ``emit``, as is *doorbell*.

    Raises:
        MalformedStatus: Names the wrong field and why; nothing was stored.
        NotInAtomicBlock: No ``atomic()`` block is open on this database.
        UnsupportedDatabase: It is not PostgreSQL by way of psycopg 3.
    """
    parsed, block = status_schema.parse(status), _open_block(using)
    if recording.recorder is not None:
        return recording.recorder.publish(block, parsed)
    with block.connection.wrap_database_errors:
        (receipt,) = store(block.driver(), [parsed])
    block.ring(doorbell or process_doorbell(), STATUSES)
    return receipt


@async_unsafe
def withdraw(key: str, using: str = DEFAULT_DB_ALIAS) -> Withdrawal:
    """
    Withdraw an event, in the open ``atomic()`` block, as ``notify.withdraw`` does.

    Args:
        using: As in ``emit``.

    Raises:
        NoSuchEvent: No event has this key.
        NotWithdrawable: notify emitted the event itself.
        NotInAtomicBlock: No ``atomic()`` block is open on this database.
        UnsupportedDatabase: It is not PostgreSQL by way of psycopg 3.
    """
    block = _open_block(using)
    if recording.recorder is not None:
        return recording.recorder.withdraw(block, key)
    with block.connection.wrap_database_errors:
        return store_withdrawal(block.driver(), key)


@dataclass(frozen=True, slots=True)
class AtomicBlock:
    """The open transaction on one of Django's connections."""

    connection: BaseDatabaseWrapper

    def driver(self) -> Connection[Any]:
        """The connection beneath. Raises what Django does where the block has to be rolled back."""
        driver = driver_of(self.connection)
        self.connection.validate_no_broken_transaction()
        return driver

    def ring(self, doorbell: Doorbell, stage: str) -> None:
        transaction.on_commit(partial(doorbell.ring, stage), using=self.connection.alias, robust=True)

    def watch(self) -> Callable[[], bool]:
        """Django forgets the callbacks of what is rolled back, a savepoint or all; in a TestCase it keeps the rest."""
        kept: list[bool] = []
        keep = partial(kept.append, True)
        transaction.on_commit(keep, using=self.connection.alias)
        return lambda: not kept and all(waiting[1] is not keep for waiting in self.connection.run_on_commit)


def driver_of(connection: BaseDatabaseWrapper) -> Connection[Any]:
    """
    The connection beneath Django's, which is opened if need be.

    Raises:
        UnsupportedDatabase: It is not psycopg 3's.
    """
    if connection.vendor != POSTGRESQL:
        raise UnsupportedDatabase(alias=connection.alias, found=connection.vendor)
    connection.ensure_connection()
    driver = connection.connection
    if not isinstance(driver, Connection):
        raise UnsupportedDatabase(alias=connection.alias, found=type(driver).__module__.partition(".")[0])
    return driver


def _open_block(using: str) -> AtomicBlock:
    connection = connections[using]
    own = [one for one in connection.atomic_blocks if not getattr(one, "_from_testcase", False)]
    if not (connection.in_atomic_block and own):
        raise NotInAtomicBlock(using=using)
    return AtomicBlock(connection)
