"""Stores the webhook deliveries that arrive together with one statement, each before it is answered."""

from asyncio import Future, Task, create_task, current_task, get_running_loop
from collections.abc import Sequence
from typing import TypeAlias, cast

from starlette.concurrency import run_in_threadpool

from notify.domain.ports import Doorbell
from notify.domain.stages import INBOX
from notify.store.database import UNAVAILABLE, Database
from notify.store.forges import deliveries
from notify.store.forges.deliveries import NewDelivery, Receipt

MOST_AT_ONCE = 50
STATEMENTS_AT_ONCE = 2
Arrival: TypeAlias = tuple[NewDelivery, Future[Receipt]]


class Arrivals:
    """
    Deliveries on their way into the database. For one event loop at a time.

    Decided: at most two statements at a time, the next one of all that arrived meanwhile. A delivery that comes alone
        does not wait, and under load a thread, a connection and a commit serve many.
    """

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self._waiting: list[Arrival] = []
        self._storing: set[Task[None]] = set()

    async def store(self, delivery: NewDelivery) -> Receipt:
        """Returns when the delivery is committed; its body is kept in memory until then, so it should be small."""
        receipt: Future[Receipt] = get_running_loop().create_future()
        self._waiting.append((delivery, receipt))
        if len(self._storing) < STATEMENTS_AT_ONCE:
            self._storing.add(create_task(self._store_waiting()))
        return await receipt

    def store_now(self, given: Sequence[NewDelivery]) -> list[Receipt]:
        """Blocks until these are committed. No two of one forge have the same id."""
        with self._database.single() as connection:
            receipts = deliveries.store(connection, given)
        self._doorbell.ring(INBOX)
        return receipts

    async def _store_waiting(self) -> None:
        try:
            while self._waiting:
                await self._store_batch(self._next_batch())
        finally:
            # Here, not in a callback of the task: whatever arrives next must find that nothing runs any more.
            self._storing.discard(cast("Task[None]", current_task()))

    def _next_batch(self) -> list[Arrival]:
        """The first that wait, each id once: the second of one id is stored after the first, and found to be known."""
        batch: dict[tuple[str, str], Arrival] = {}
        later: list[Arrival] = []
        for arrival in self._waiting:
            key = arrival[0].forge, arrival[0].delivery_id
            if key in batch or len(batch) == MOST_AT_ONCE:
                later.append(arrival)
            else:
                batch[key] = arrival
        self._waiting = later
        return list(batch.values())

    async def _store_batch(self, batch: Sequence[Arrival]) -> None:
        """One that cannot be stored refuses no other."""
        try:
            receipts = await run_in_threadpool(self.store_now, [delivery for delivery, _ in batch])
        except UNAVAILABLE as error:
            _refuse(batch, error)
        except Exception as error:  # noqa: BLE001 - its caller gets it
            if len(batch) == 1:
                _refuse(batch, error)
                return
            for arrival in batch:
                await self._store_batch([arrival])
        else:
            for (_, asked), receipt in zip(batch, receipts, strict=True):
                if not asked.done():
                    asked.set_result(receipt)


def _refuse(batch: Sequence[Arrival], error: Exception) -> None:
    for _, asked in batch:
        if not asked.done():
            asked.set_exception(error)
