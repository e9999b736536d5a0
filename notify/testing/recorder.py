"""Records what an application emits during a test, and answers as the database would."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import uuid4

from notify.domain.errors import MalformedEvent, NoSuchEvent
from notify.intake.event_digests import differing_fields, digests
from notify.intake.schema import EventIn
from notify.intake.withdraw import Withdrawal
from notify.recording import OpenTransaction
from notify.statuses.schema import StatusIn
from notify.store.callers import refuse_unsupported
from notify.store.outbox.events import Receipt
from notify.store.statuses.publishing import PublishReceipt
from notify.testing.rollbacks import Undone, Watches

Value = TypeVar("Value")

FURTHEST_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Record(Generic[Value]):
    """Something recorded; *id* is that of its receipt."""

    id: int
    value: Value
    undone: Undone


@dataclass(slots=True)
class EmittedRecorder:
    """In order; what was rolled back stays in the lists, marked as ``undone``."""

    events: list[Record[EventIn]] = field(default_factory=list)
    statuses: list[Record[StatusIn]] = field(default_factory=list)
    withdrawn: list[Record[str]] = field(default_factory=list)
    watches: Watches = field(default_factory=Watches)

    def emit(self, caller: object, event: EventIn) -> Receipt:
        """
        Raises:
            MalformedEvent: It is in the future, by this machine's clock.
            UnsupportedConnection: The database's door would refuse *caller*.
        """
        _refuse_unsupported(caller)
        if event.key is not None and (known := self._known(event.key)):
            differs = differing_fields(digests(known.value), digests(event))
            withdrawn = any(one.value == event.key and not one.undone() for one in self.withdrawn)
            return Receipt(id=known.id, key=event.key, duplicate=True, differs=differs, withdrawn=withdrawn)
        if event.occurred_at and event.occurred_at > datetime.now(UTC) + FURTHEST_AHEAD:
            raise MalformedEvent(field="occurred_at", reason="expected an instant not later than five minutes from now")
        keyed = event if event.key else event.model_copy(update={"key": uuid4().hex})
        record = Record(len(self.events) + 1, keyed, self.watches.undone(caller))
        self.events.append(record)
        return Receipt(id=record.id, key=str(keyed.key), duplicate=False)

    def publish(self, caller: object, status: StatusIn) -> PublishReceipt:
        """
        Raises:
            UnsupportedConnection: The database's door would refuse *caller*.
        """
        _refuse_unsupported(caller)
        target = _target(status)
        earlier = [one for one in self.statuses if not one.undone() and _target(one.value) == target]
        record = Record(earlier[0].id if earlier else len(self.statuses) + 1, status, self.watches.undone(caller))
        self.statuses.append(record)
        return PublishReceipt(id=record.id, version=len(earlier) + 1)

    def withdraw(self, caller: object, key: str) -> Withdrawal:
        """
        The answer names nobody: nothing is fanned out here.

        Raises:
            NoSuchEvent: It was not emitted in this test.
            UnsupportedConnection: The database's door would refuse *caller*.
        """
        _refuse_unsupported(caller)
        known = self._known(key)
        if known is None:
            raise NoSuchEvent(key=key)
        self.withdrawn.append(Record(known.id, key, self.watches.undone(caller)))
        return Withdrawal(id=known.id, key=key, people=())

    def _known(self, key: str) -> Record[EventIn] | None:
        return next((one for one in self.events if one.value.key == key and not one.undone()), None)


def _target(status: StatusIn) -> tuple[str, ...]:
    return status.forge, status.repository.lower(), status.sha, status.context


def _refuse_unsupported(caller: object) -> None:
    if not isinstance(caller, OpenTransaction):
        refuse_unsupported(caller)
