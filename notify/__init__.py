"""
A durable notification outbox for code review: one event in, one email for each person out.

An application needs ``emit``, and ``publish`` if it shows statuses on commits::

    with Session(engine) as session:
        session.add(comment)
        notify.emit(session, {"type": "cl.comment.created", "actor": "dana", "cl": …, "comment": …})
        session.commit()
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from notify import recording
from notify.domain.errors import (
    MalformedEvent,
    MalformedStatus,
    NoSuchEvent,
    NotifyError,
    NotWithdrawable,
    UnsupportedConnection,
)

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
    from sqlalchemy.orm import Session, scoped_session

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
    from notify.store.database import Caller
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
    "withdraw",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is exported
    if name not in _EXPORTED:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_EXPORTED[name]), name)


def emit(
    session_or_connection: "Caller | scoped_session[Session]",
    event: "EventIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "Receipt":
    """
    Store an event in the caller's transaction: it exists once that is committed, and never if it is rolled back.

    The receipt has the event's id and whether its key was already known; a known key changes nothing, ``differs``
    names the fields that differ from the stored event, and ``withdrawn`` says whether that was withdrawn. Workers are
    notified after the commit, in the background.

    Args:
        session_or_connection: A SQLAlchemy Session (a ``scoped_session`` too) or Connection, or a
            psycopg Connection, to the database with the schema ``notify``.
        event: The fields of ``POST /api/v1/events``. ``traceparent`` defaults to the current OpenTelemetry trace.
        doorbell: Defaults to the one in this process's settings; if those are invalid, that is logged, and workers
            find the event by sweeping.

    Raises:
        MalformedEvent: Names the wrong field and why; nothing was stored.
        UnsupportedConnection: The first argument is something else.
    """
    from notify.domain.stages import FAN_OUT
    from notify.intake.after_commit import after_commit
    from notify.intake.receive import receive
    from notify.intake.schema import parse
    from notify.store.database import is_scoped
    from notify.tracing import current_traceparent
    from notify.wiring import process_doorbell

    caller = session_or_connection() if is_scoped(session_or_connection) else session_or_connection
    if recording.recorder is not None:
        return recording.recorder.emit(caller, parse(event))
    bell = doorbell or process_doorbell()
    (receipt,) = receive(caller, [parse(event)], traceparent=current_traceparent())
    if not receipt.duplicate:
        after_commit(caller, lambda: bell.ring(FAN_OUT), name=FAN_OUT)
    return receipt


def publish(
    session_or_connection: "Caller | scoped_session[Session]",
    status: "Status | StatusIn | Mapping[str, Any]",
    *,
    doorbell: "Doorbell | None" = None,
) -> "PublishReceipt":
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
    from notify.domain.stages import STATUSES
    from notify.intake.after_commit import after_commit
    from notify.statuses.publish import publish as store
    from notify.statuses.schema import parse
    from notify.store.database import is_scoped
    from notify.wiring import process_doorbell

    caller = session_or_connection() if is_scoped(session_or_connection) else session_or_connection
    if recording.recorder is not None:
        return recording.recorder.publish(caller, parse(status))
    bell = doorbell or process_doorbell()
    (receipt,) = store(caller, [parse(status)])
    after_commit(caller, lambda: bell.ring(STATUSES), name=STATUSES)
    return receipt


def withdraw(session_or_connection: "Caller | scoped_session[Session]", key: str) -> "Withdrawal":
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
    from notify.intake.withdraw import withdraw as withdraw_event
    from notify.store.database import is_scoped

    caller = session_or_connection() if is_scoped(session_or_connection) else session_or_connection
    if recording.recorder is not None:
        return recording.recorder.withdraw(caller, key)
    return withdraw_event(caller, key)
