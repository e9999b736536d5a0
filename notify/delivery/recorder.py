"""Outcomes on their way to the table: written as they come, in small batches or after 50 ms."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from notify.domain.errors import NotifyError
from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import JobUpdate, OutcomeName
from notify.store.database import UNAVAILABLE
from notify.store.outbox.outbox import AttemptOutcome

MOST_ROWS = 50
# While a batch is being written the next one gathers, and both are what a killed process repeats.
ENOUGH_OF_THEM = 0.4
LONGEST_WAIT_SECONDS = 0.05
PAUSE_SECONDS = 0.5


class CommitUnsettled(NotifyError):
    """The database has not decided yet whether the outcomes were recorded."""


@dataclass(slots=True)
class Flush:
    """
    A batch, and what is known of the last attempt to write it.

    ``sent`` are emails that the relay took without more ado; those that cannot be recorded as simply become
    ``endings``. ``unheard`` says that some of these may have been recorded without anybody hearing of it;
    ``transaction`` names the last attempt to record ``endings`` if its commit may have taken place unheard, and
    ``written`` is what it counted. A lost answer must not turn one email into a repeated one. ``counts`` is what is
    known to be recorded.
    """

    sent: Sequence[EmailAttempt] = ()
    endings: Sequence[AttemptOutcome] = ()
    unheard: bool = False
    transaction: str | None = None
    written: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


Write = Callable[[Flush], Awaitable[None]]
Recorded = EmailAttempt | AttemptOutcome

log = structlog.get_logger(__name__)


class Recorder:
    """
    Collects what became of emails and writes it soon. Lives in one event loop.

    While the database is away all of it waits here, ``stuck`` says so, and nothing is dropped.
    ``unwritten`` of them would be sent again if the process were killed now.

    Args:
        write: Records a batch, and counts it there.
        most: Rows in a batch.
        relieved: Called after each batch.
    """

    def __init__(self, write: Write, *, relieved: Callable[[], None], most: int = MOST_ROWS) -> None:
        self.counts: Counter[str] = Counter()
        self.stuck = False
        self._write = write
        self._relieved = relieved
        self._most = most
        self._enough_rows = max(1, round(ENOUGH_OF_THEM * most))
        self.unwritten = 0
        self._waiting: list[Recorded] = []
        self._enough = asyncio.Event()
        self._any = asyncio.Event()
        self._closing = False

    def put(self, one: Recorded) -> None:
        """Take an email that was sent, or another ending; it is written within 50 ms unless the database is away."""
        self.unwritten += 1
        self._waiting.append(one)
        self._any.set()
        if len(self._waiting) >= self._enough_rows:
            self._enough.set()

    def hurry(self) -> None:
        """Write what is here without waiting for more."""
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
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not self._waiting and not self._closing:
                self._any.clear()
            if len(self._waiting) < self._enough_rows and not self._closing:
                self._enough.clear()
            if batch:
                await self._record(
                    Flush(
                        sent=[one for one in batch if isinstance(one, EmailAttempt)],
                        endings=[one for one in batch if isinstance(one, AttemptOutcome)],
                    )
                )
                self.unwritten -= len(batch)
                self._relieved()

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await self._enough.wait()
        except TimeoutError:
            return

    async def _record(self, flush: Flush) -> None:
        """Write the batch; if that fails for good, each ending by itself, so that one costs no other its record."""
        left: Sequence[AttemptOutcome] = ()
        unheard = bool(flush.unheard or flush.sent)
        try:
            await self._insist(flush)
        except Exception:
            left = [*map(ending_of, flush.sent), *flush.endings]
            log.exception("outcomes.refused", jobs=[one.name for one in left])
        self.counts += flush.counts
        for one in left if len(left) > 1 else ():
            await self._record(Flush(endings=[one], unheard=unheard))

    async def _insist(self, flush: Flush) -> None:
        rows = len(flush.sent) + len(flush.endings)
        while True:
            try:
                await self._write(flush)
            except (*UNAVAILABLE, CommitUnsettled) as error:
                self.stuck = True
                log.warning("outcomes.waiting", rows=rows, error=type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.stuck = False
                return


def ending_of(email: EmailAttempt, update: JobUpdate | None = None) -> AttemptOutcome:
    """
    The end of this attempt.

    Args:
        update: None: the email was sent.
    """
    return AttemptOutcome(
        job=email.job,
        update=update or JobUpdate(outcome=OutcomeName.SENT, answer=email.answer),
        to_email=email.facts.to_email,
        relay=email.relay,
        took=timedelta(seconds=email.seconds),
    )
