"""Outcomes on their way to the table: written as they come, in batches of at most 50 rows or 50 ms."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from notify.domain.errors import NotifyError
from notify.store.database import AWAY
from notify.store.outbox import Ending

MOST_ROWS = 50
# While a batch is being written the next one gathers, and both are what a killed process repeats.
ENOUGH_ROWS = 20
LONGEST_WAIT_SECONDS = 0.05
PAUSE_SECONDS = 0.5


class CommitUnsettled(NotifyError):
    """The database has not decided yet whether the outcomes were recorded."""


@dataclass(slots=True)
class Flush:
    """
    A batch, and what is known of the last try to write it.

    ``transaction`` names the try whose commit may have taken place unheard; ``counts`` is what it
    counted. A lost answer must not turn one letter into a repeated one.
    """

    endings: Sequence[Ending]
    transaction: str | None = None
    counts: Counter[str] = field(default_factory=Counter)


Write = Callable[[Flush], Awaitable[Counter[str]]]

log = structlog.get_logger(__name__)


class Recorder:
    """
    Collects endings and writes them soon. Lives in one event loop.

    While the database is away the endings wait here, ``stuck`` says so, and nothing is dropped.
    ``unwritten`` of them would be sent again if the process were killed now.

    Args:
        write: Records a batch in a transaction of its own.
        relieved: Called after each batch.
    """

    def __init__(self, write: Write, *, relieved: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.stuck = False
        self._write = write
        self._relieved = relieved
        self.unwritten = 0
        self._waiting: list[Ending] = []
        self._enough = asyncio.Event()
        self._any = asyncio.Event()
        self._closing = False

    def put(self, ending: Ending) -> None:
        """Take an ending; it is written within 50 ms if the database is there."""
        self.unwritten += 1
        self._waiting.append(ending)
        self._any.set()
        if len(self._waiting) >= ENOUGH_ROWS:
            self._enough.set()

    def hurry(self) -> None:
        """Somebody waits until what is here has been written."""
        self._enough.set()

    def close(self) -> None:
        """No ending comes after this; ``run`` returns once what waits is written."""
        self._closing = True
        self._any.set()
        self._enough.set()

    async def run(self) -> None:
        """Write batches until ``close`` is called and all is written, however long the database is away."""
        while not self._closing or self._waiting:
            await self._any.wait()
            await self._gather()
            batch, self._waiting = self._waiting[:MOST_ROWS], self._waiting[MOST_ROWS:]
            if not self._waiting and not self._closing:
                self._any.clear()
            if len(self._waiting) < ENOUGH_ROWS and not self._closing:
                self._enough.clear()
            if batch:
                await self._record(batch)
                self.unwritten -= len(batch)
                self._relieved()

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await self._enough.wait()
        except TimeoutError:
            return

    async def _record(self, batch: Sequence[Ending]) -> None:
        """Write the batch; if that fails for good, each ending by itself, so that one costs no other its record."""
        try:
            self.counts += await self._written(Flush(batch))
        except Exception:
            log.exception("outcomes.refused", jobs=[one.name for one in batch])
            if len(batch) > 1:
                for one in batch:
                    await self._record([one])

    async def _written(self, flush: Flush) -> Counter[str]:
        while True:
            try:
                counts = await self._write(flush)
            except (*AWAY, CommitUnsettled) as error:
                self.stuck = True
                log.warning("outcomes.waiting", rows=len(flush.endings), error=type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.stuck = False
                return counts
