"""What an application calls on its own connection, whichever library that is of: ``notify.emit`` and its like."""

from asyncio import to_thread
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from notify import recording
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, STATUSES
from notify.domain.statuses import Status
from notify.intake.after_commit import after_commit
from notify.intake.receive import receiving
from notify.intake.schema import EventIn
from notify.intake.schema import parse as parse_event
from notify.intake.withdraw import withdrawing
from notify.recording import Recorder
from notify.statuses.publish import publishing
from notify.statuses.schema import StatusIn
from notify.statuses.schema import parse as parse_status
from notify.store.callers import Statements, run, run_async
from notify.store.connection_kinds import AnyAsyncCaller, AnyCaller, AsyncCaller, Caller, async_unscoped, unscoped
from notify.store.outbox.events import Receipt
from notify.store.statuses.publishing import PublishReceipt
from notify.tracing import current_traceparent
from notify.wiring.connections import process_doorbell

Given = TypeVar("Given")
Returned = TypeVar("Returned")


@dataclass(frozen=True, slots=True)
class Door(Generic[Given, Returned]):
    """
    Runs what *store* yields in the caller's transaction, and rings for *stage*, if it has one, after its commit.

    Args:
        store: Refuses what is malformed before its first statement.
        record: The same in a test suite that has a recorder instead of a database.
        wakes: Whether the workers have something to do.
    """

    store: Callable[[Given], Statements[Returned]]
    record: Callable[[Recorder, object, Given], Returned]
    stage: str | None = None
    wakes: Callable[[Returned], bool] = lambda _: True

    def enter(self, caller: AnyCaller, given: Given, doorbell: Doorbell | None) -> Returned:
        unscoped_caller = unscoped(caller)
        if recording.recorder is not None:
            return self.record(recording.recorder, unscoped_caller, given)
        returned = run(unscoped_caller, self.store(given))
        self._ring_after_commit(unscoped_caller, returned, doorbell or process_doorbell())
        return returned

    async def enter_async(self, caller: AnyAsyncCaller, given: Given, doorbell: Doorbell | None) -> Returned:
        unscoped_caller = async_unscoped(caller)
        if recording.recorder is not None:
            return self.record(recording.recorder, unscoped_caller, given)
        bell = doorbell or await _process_doorbell()
        returned = await run_async(unscoped_caller, self.store(given))
        self._ring_after_commit(unscoped_caller, returned, bell)
        return returned

    def _ring_after_commit(self, caller: "Caller | AsyncCaller", returned: Returned, bell: Doorbell) -> None:
        stage = self.stage
        if stage is not None and self.wakes(returned):
            after_commit(caller, lambda: bell.ring(stage), name=stage)


def _store_event(event: EventIn | Mapping[str, Any]) -> Statements[Receipt]:
    (receipt,) = yield from receiving([parse_event(event)], traceparent=current_traceparent())
    return receipt


def _store_status(status: Status | StatusIn | Mapping[str, Any]) -> Statements[PublishReceipt]:
    (receipt,) = yield from publishing([parse_status(status)])
    return receipt


EMIT = Door(
    _store_event,
    lambda recorder, caller, event: recorder.emit(caller, parse_event(event)),
    FAN_OUT,
    wakes=lambda receipt: not receipt.duplicate,
)
WITHDRAW = Door(withdrawing, lambda recorder, caller, key: recorder.withdraw(caller, key))
PUBLISH = Door(_store_status, lambda recorder, caller, status: recorder.publish(caller, parse_status(status)), STATUSES)


async def _process_doorbell() -> Doorbell:
    """In a thread, where it has to read the settings and import Celery."""
    is_known = process_doorbell.cache_info().currsize
    return process_doorbell() if is_known else await to_thread(process_doorbell)


def ring(doorbell: Doorbell | None) -> None:
    bell = doorbell or process_doorbell()
    for stage in (FAN_OUT, STATUSES):
        bell.ring(stage)
