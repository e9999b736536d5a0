"""Withdraws an event, in the caller's transaction: people who have not been told yet are not told."""

from collections.abc import Sequence
from dataclasses import dataclass

from notify.domain.errors import NoSuchEvent, NotWithdrawable
from notify.intake.triggers import OWN_TRIGGERS
from notify.store.callers import Statements, run
from notify.store.connection_kinds import Caller
from notify.store.outbox import withdrawal
from notify.store.outbox.withdrawal import WithdrawnPerson

NUL = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawn event, and what became of it for everyone whom it concerns; nobody, if it was not fanned out."""

    id: int
    key: str
    people: Sequence[WithdrawnPerson]


def withdraw(caller: Caller, key: str) -> Withdrawal:
    """
    Withdraw the event with this key. The caller commits. Safe to repeat.

    Raises:
        NoSuchEvent: No event has this key.
        NotWithdrawable: notify emitted the event itself.
        NoTransaction: *caller* is in autocommit mode.
        UnsupportedConnection: *caller* is no connection that events are emitted on.
    """
    return run(caller, withdrawing(key))


def withdrawing(key: str) -> Statements[Withdrawal]:
    """The statements of ``withdraw``."""
    event = None if NUL in key else (yield from withdrawal.locking_event(key))
    if event is None:
        raise NoSuchEvent(key=key)
    if event.type in OWN_TRIGGERS:
        raise NotWithdrawable(key=key, type=event.type)
    return Withdrawal(id=event.id, key=key, people=(yield from withdrawal.withdrawing(event)))
