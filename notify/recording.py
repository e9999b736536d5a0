"""Where a test suite takes in what its application emits; nothing sets it in production."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from notify.intake.schema import EventIn
    from notify.intake.withdraw import Withdrawal
    from notify.statuses.schema import StatusIn
    from notify.store.outbox.events import Receipt
    from notify.store.statuses.publishing import PublishReceipt


@runtime_checkable
class OpenTransaction(Protocol):
    """A framework's transaction, for callers that are no connection."""

    def watch(self) -> Callable[[], bool]:
        """A function that says whether what is written now has been rolled back."""


class Recorder(Protocol):
    """
    Answers in place of the database.

    *caller* is what the application passed, or an ``OpenTransaction``: a recorder drops what it rolled back.
    """

    def emit(self, caller: object, event: "EventIn") -> "Receipt": ...

    def publish(self, caller: object, status: "StatusIn") -> "PublishReceipt": ...

    def withdraw(self, caller: object, key: str) -> "Withdrawal": ...


# Of the process, not of a context: an application may emit in a thread that its framework started.
recorder: Recorder | None = None
