"""Collects outcomes and records them in small batches, after 50 ms at the latest."""

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
# A full batch is written early: a killed process repeats both the batch being written and the next one.
ENOUGH_FRACTION = 0.4
LONGEST_WAIT_SECONDS = 0.05
PAUSE_SECONDS = 0.5


class CommitPending(NotifyError):
    """The database has not decided yet whether the outcomes were recorded."""


@dataclass(slots=True)
class Flush:
    """
    A batch to record, and the state of the last attempt to do so.

    ``sent`` emails are recorded in one statement; those that it does not confirm become ``outcomes``.
    ``unconfirmed``: some of them may have been recorded nevertheless. ``transaction`` is the id of the last
    transaction if its commit was not confirmed, and ``written`` what it counted, so that no outcome is counted twice.
    ``counts`` is confirmed.
    """

    sent: Sequence[EmailAttempt] = ()
    outcomes: Sequence[AttemptOutcome] = ()
    unconfirmed: bool = False
    transaction: str | None = None
    written: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


Write = Callable[[Flush], Awaitable[None]]
Recorded = EmailAttempt | AttemptOutcome

log = structlog.get_logger(__name__)


class Recorder:
    """
    Collects outcomes and records them in batches. Lives in one event loop.

    While the database is unavailable, outcomes wait here and ``stuck`` is true. ``unwritten`` emails would be sent
    again if the process were killed now.

    Args:
        write: Records a batch and adds to its counts.
        most: Rows per batch.
        on_written: Called after each batch.
    """

    def __init__(self, write: Write, *, on_written: Callable[[], None], most: int = MOST_ROWS) -> None:
        self.counts: Counter[str] = Counter()
        self.stuck = False
        self._write = write
        self._on_written = on_written
        self._most = most
        self._enough_rows = max(1, round(ENOUGH_FRACTION * most))
        self.unwritten = 0
        self._waiting: list[Recorded] = []
        self._enough = asyncio.Event()
        self._any = asyncio.Event()
        self._closing = False

    def put(self, one: Recorded) -> None:
        """Add a sent email or another outcome; it is recorded within 50 ms if the database is available."""
        self.unwritten += 1
        self._waiting.append(one)
        self._any.set()
        if len(self._waiting) >= self._enough_rows:
            self._enough.set()

    def hurry(self) -> None:
        """Record what is here without waiting for more."""
        self._enough.set()

    def close(self) -> None:
        """Accept no more outcomes; ``run`` returns once all are recorded."""
        self._closing = True
        self._any.set()
        self._enough.set()

    async def run(self) -> None:
        """Record batches until ``close`` is called and all is recorded, however long the database is unavailable."""
        while not self._closing or self._waiting:
            await self._any.wait()
            await self._wait_for_more()
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not self._waiting and not self._closing:
                self._any.clear()
            if len(self._waiting) < self._enough_rows and not self._closing:
                self._enough.clear()
            if batch:
                await self._record(
                    Flush(
                        sent=[one for one in batch if isinstance(one, EmailAttempt)],
                        outcomes=[one for one in batch if isinstance(one, AttemptOutcome)],
                    )
                )
                self.unwritten -= len(batch)
                self._on_written()

    async def _wait_for_more(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await self._enough.wait()
        except TimeoutError:
            return

    async def _record(self, flush: Flush) -> None:
        """Record the batch; if that fails for good, each outcome by itself, so that a bad one stops no other."""
        left: Sequence[AttemptOutcome] = ()
        unconfirmed = bool(flush.unconfirmed or flush.sent)
        try:
            await self._write_until_done(flush)
        except Exception:
            left = [*map(outcome_of, flush.sent), *flush.outcomes]
            log.exception("outcomes.failed", jobs=[one.name for one in left])
        self.counts += flush.counts
        for one in left if len(left) > 1 else ():
            await self._record(Flush(outcomes=[one], unconfirmed=unconfirmed))

    async def _write_until_done(self, flush: Flush) -> None:
        rows = len(flush.sent) + len(flush.outcomes)
        while True:
            try:
                await self._write(flush)
            except (*UNAVAILABLE, CommitPending) as error:
                self.stuck = True
                log.warning("outcomes.not_written", rows=rows, error=type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.stuck = False
                return


def outcome_of(email: EmailAttempt, update: JobUpdate | None = None) -> AttemptOutcome:
    """
    The outcome of this attempt.

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
