"""
A durable notification outbox for code review: one event in, one email for each person out.

An application needs ``emit``, and ``publish`` if it shows statuses on commits::

    with Session(engine) as session:
        session.add(comment)
        notify.emit(session, {"type": "cl.comment.created", "actor": "dana", "cl": …, "comment": …})
        session.commit()

With an asynchronous connection it is ``await notify.emit(…)``.
"""

import sys
from collections.abc import Coroutine, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from notify.domain.errors import (
    MalformedEvent,
    MalformedStatus,
    NoSuchEvent,
    NotifyError,
    NotWithdrawable,
    UnsupportedConnection,
)

_APPLICATIONS = "notify.wiring.applications"
# For packages with event types of their own; imported when they are asked for.
_EXPORTED = {
    "AudienceMember": "notify.domain.audience",
    "CustomEventType": "notify.domain.custom_types",
    "Event": "notify.domain.events",
    "InvolvedPeople": "notify.domain.audience",
    "Reason": "notify.domain.audience",
    "everyone_involved": "notify.domain.audience",
}

if TYPE_CHECKING:
    from notify.domain.audience import AudienceMember as AudienceMember
    from notify.domain.audience import InvolvedPeople as InvolvedPeople
    from notify.domain.audience import Reason as Reason
    from notify.domain.audience import everyone_involved as everyone_involved
    from notify.domain.custom_types import CustomEventType as CustomEventType
    from notify.domain.events import Event as Event
    from notify.domain.ports import Doorbell
    from notify.domain.statuses import Status
    from notify.intake.schema import EventIn
    from notify.intake.withdraw import Withdrawal
    from notify.statuses.schema import StatusIn
    from notify.store.connection_kinds import AnyAsyncCaller, AnyCaller
    from notify.store.outbox.events import Receipt
    from notify.store.statuses.publishing import PublishReceipt

__all__ = [
    "MalformedEvent",
    "MalformedStatus",
    "NoSuchEvent",
    "NotWithdrawable",
    "NotifyError",
    "UnsupportedConnection",
    "emit",
    "publish",
    "ring",
    "withdraw",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is exported
    if name not in _EXPORTED:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_EXPORTED[name]), name)


@overload
def emit(
    session_or_connection: "AnyCaller", event: "EventIn | Mapping[str, Any]", *, doorbell: "Doorbell | None" = None
) -> "Receipt": ...


@overload
def emit(
    session_or_connection: "AnyAsyncCaller", event: "EventIn | Mapping[str, Any]", *, doorbell: "Doorbell | None" = None
) -> "Coroutine[Any, Any, Receipt]": ...


def emit(
    session_or_connection: "AnyCaller | AnyAsyncCaller",
    event: "EventIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "Receipt | Coroutine[Any, Any, Receipt]":
    """
    Store an event in the caller's transaction: it exists once that is committed, and never if it is rolled back.

    The receipt has the event's id and whether its key was already known; a known key changes nothing, ``differs``
    names the fields that differ from the stored event, and ``withdrawn`` says whether that was withdrawn. Workers are
    notified after the commit, in the background.

    Args:
        session_or_connection: SQLAlchemy's Session or Connection, AsyncSession or AsyncConnection (on psycopg or
            asyncpg), or one of its scoped sessions; psycopg's Connection or AsyncConnection; asyncpg's Connection. To
            the database with the schema ``notify``. With an asynchronous one, await the receipt.
        event: The fields of ``POST /api/v1/events``. ``traceparent`` defaults to the current OpenTelemetry trace.
        doorbell: Defaults to the one in this process's settings; if those are invalid, that is logged, and workers
            find the event by sweeping.

    Raises:
        MalformedEvent: Names the wrong field and why; nothing was stored.
        UnsupportedConnection: The first argument is something else.
    """
    receipt: Receipt | Coroutine[Any, Any, Receipt] = _enter("EMIT", session_or_connection, event, doorbell)
    return receipt


@overload
def publish(
    session_or_connection: "AnyCaller",
    status: "Status | StatusIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "PublishReceipt": ...


@overload
def publish(
    session_or_connection: "AnyAsyncCaller",
    status: "Status | StatusIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "Coroutine[Any, Any, PublishReceipt]": ...


def publish(
    session_or_connection: "AnyCaller | AnyAsyncCaller",
    status: "Status | StatusIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "PublishReceipt | Coroutine[Any, Any, PublishReceipt]":
    """
    Store what is to be shown on a commit, in the caller's transaction; it replaces what was wanted there before.

    The receipt names the target, which is one row for each context of a commit, and the version that this status has
    become. Workers are notified after the commit, in the background, and show the newest version.

    Args:
        session_or_connection: As in ``emit``. Until its transaction ends, others that publish to this target wait.
        status: A ``Status``, or the fields of ``PUT /api/v1/statuses``.
        doorbell: As in ``emit``.

    Raises:
        MalformedStatus: Names the wrong field and why; nothing was stored.
        UnsupportedConnection: The first argument is something else.
    """
    receipt: PublishReceipt | Coroutine[Any, Any, PublishReceipt] = _enter(
        "PUBLISH", session_or_connection, status, doorbell
    )
    return receipt


@overload
def withdraw(session_or_connection: "AnyCaller", key: str) -> "Withdrawal": ...


@overload
def withdraw(session_or_connection: "AnyAsyncCaller", key: str) -> "Coroutine[Any, Any, Withdrawal]": ...


def withdraw(
    session_or_connection: "AnyCaller | AnyAsyncCaller", key: str
) -> "Withdrawal | Coroutine[Any, Any, Withdrawal]":
    """
    Withdraw an event, in the caller's transaction: nobody is told of it who has not been told yet. Safe to repeat.

    The answer says for each person what became of it: ``withdrawn``, or what was too late to withdraw, such as
    ``sending`` or ``sent``. An email about several events is sent without this one.

    Args:
        session_or_connection: As in ``emit``. Until its transaction ends, workers leave these emails alone, and events
            that would join them wait.
        key: The event's key.

    Raises:
        NoSuchEvent: No event has this key.
        NotWithdrawable: notify emitted the event itself.
        NotifyError: The connection is in autocommit mode.
        UnsupportedConnection: The first argument is something else.
    """
    withdrawal: Withdrawal | Coroutine[Any, Any, Withdrawal] = _enter("WITHDRAW", session_or_connection, key, None)
    return withdrawal


def ring(*, doorbell: "Doorbell | None" = None) -> None:
    """
    Notify the workers after a commit that ``emit`` cannot see: that of a prepared transaction.

    Never blocks and never raises; without it the workers find what was stored within seconds.
    """
    known = getattr(sys.modules.get(_APPLICATIONS), "ring", None)
    if known is not None:
        known(doorbell)
        return
    from threading import Thread

    Thread(target=lambda: _load("ring")(doorbell), name="ring", daemon=True).start()


def _enter(door: str, caller: Any, given: object, doorbell: "Doorbell | None") -> Any:  # noqa: ANN401 - by the door
    from notify.store.connection_kinds import is_async

    if is_async(caller):
        return _enter_async(door, caller, given, doorbell)
    return _load(door).enter(caller, given, doorbell)


async def _enter_async(door: str, caller: Any, given: object, doorbell: "Doorbell | None") -> Any:  # noqa: ANN401
    """Imports in a thread, because the first import takes long enough to be noticed by others in the event loop."""
    from asyncio import to_thread

    entered: Any = getattr(sys.modules.get(_APPLICATIONS), door, None) or await to_thread(_load, door)
    return await entered.enter_async(caller, given, doorbell)


def _load(name: str) -> Any:  # noqa: ANN401 - a door, or a function
    return getattr(import_module(_APPLICATIONS), name)
