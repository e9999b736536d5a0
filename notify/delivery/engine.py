"""One engine for each worker process: an event loop in a thread of its own that outlives tasks."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from random import Random
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import structlog

from notify.checkpoints import Checkpoint, no_checkpoint
from notify.delivery.drain import COUNTS, Drain
from notify.delivery.journal import Journal
from notify.delivery.ledger import NO_RATES, Ledger
from notify.delivery.recorder import MOST_ROWS
from notify.delivery.routes.route import Route, Routes
from notify.delivery.transactions import Transactions
from notify.domain.measures import Count, no_count
from notify.domain.ports import Channel, Doorbell
from notify.domain.rates import Rate
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.outbox import items
from notify.store.outbox.items import DueItems
from notify.store.outbox.sent import SentConnection

DATABASE_THREADS = 3
LONGEST_GOODBYE_SECONDS = 10
ABOUT_TO_END_SECONDS = 1.0
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Engine:
    """
    Drains the outbox of one database. Thread-safe; made after a fork, never before.

    Args:
        channels: By priority; none means that no mail is configured: then nothing is ever claimed.
        at_most: How long one drain may claim.
        claim_size: Jobs in one claim.
        record_rows: Outcomes in one record; a killed process repeats at most these and one email a session.
        moved: Called whenever a drain makes progress, even if the database is away.
        domains: How fast emails go to these domains of recipients.
    """

    name = DELIVER

    def __init__(
        self,
        database: Database,
        *,
        channels: Sequence[Channel],
        doorbell: Doorbell,
        worker: UUID,
        lease: timedelta,
        at_most: timedelta,
        claim_size: int,
        record_rows: int = MOST_ROWS,
        rng: Random,
        checkpoint: Checkpoint = no_checkpoint,
        count: Count = no_count,
        journal: Journal | None = None,
        moved: Callable[[], None] = lambda: None,
        domains: Mapping[str, Rate] = NO_RATES,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="ledger")
        self._connection = SentConnection(database, worker=worker)
        transactions = Transactions(database, self._threads)
        self._ledger = Ledger(
            transactions=transactions,
            worker=worker,
            lease=lease,
            checkpoint=checkpoint,
            domains=domains,
            moved=moved,
            connection=self._connection,
        )
        self._new_drain = partial(
            Drain,
            ledger=self._ledger,
            rng=rng,
            claim_size=claim_size,
            record_rows=record_rows,
            at_most=at_most,
            ring=self._ring,
            checkpoint=checkpoint,
            count=count,
            journal=journal or Journal(log),
        )
        self._routes = Routes([Route(one, transactions, worker=worker) for one in channels])
        self._one_at_a_time = Lock()
        self._draining: Drain | None = None
        self._stopped = False
        self._loop = _new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def is_due(self) -> bool:
        """Whether there is anything to do, and the engine is idle and able to do it."""
        if not self._routes or self._one_at_a_time.locked():
            return False
        with self._database.read() as connection:
            return items.is_due(connection, DELIVER)

    def drain(self) -> dict[str, float]:
        """
        Send until nothing is due. A call during another has that one claim again; unless it is about to
        end, that is all, so that a silent server delays no more than one caller.

        Rings for itself when the time was up first.
        """
        self._tell(self._nudge)
        began = monotonic()
        report: Counter[str] = Counter()
        if self._one_at_a_time.acquire(timeout=ABOUT_TO_END_SECONDS):
            try:
                if self._routes and not self._stopped:
                    self._wait_for(self._drain(report))
            finally:
                self._one_at_a_time.release()
        return {**{name: report[name] for name in COUNTS}, "seconds": round(monotonic() - began, 3)}

    def every(self, seconds: float, what: Callable[[], None]) -> None:
        """Have the event loop call this now and every *seconds*, until the engine stops."""

        def call() -> None:
            what()
            self._loop.call_later(seconds, call)

        self._tell(call)

    def stop(self, *, at_most_seconds: float = LONGEST_GOODBYE_SECONDS) -> None:
        """
        Give back what is not begun, finish what is on its way, end the sessions. Safe to repeat.

        A conversation with the relay, or an absence of the database, that takes longer than this is
        left to the leases.
        """
        self._stopped = True
        self._tell(self._stop_draining)
        if not self._one_at_a_time.acquire(timeout=at_most_seconds):
            log.warning("engine.left_behind", effect="what is on its way or not recorded is left to its lease")
            return
        try:
            if not self._loop.is_closed():
                self._end_sessions()
        finally:
            self._one_at_a_time.release()

    def _end_sessions(self) -> None:
        self._wait_for(self._routes.close())
        self._wait_for(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_GOODBYE_SECONDS)
        self._threads.shutdown(wait=True)
        self._loop.close()

    async def _drain(self, report: Counter[str]) -> None:
        """Over one relay; when that gives out in the middle, what is left goes over the next."""
        for _ in range(len(self._routes)):
            due = await self._ledger.due_items()
            route = await self._routes.admitted() if due.any else None
            if route is None or self._stopped or not await self._gave_out(route, due, report):
                return

    async def _gave_out(self, route: Route, due: DueItems, report: Counter[str]) -> bool:
        """Drain over this relay; whether it gave out before the emails did."""
        self._draining = drain = self._new_drain(route=route, report=report)
        try:
            await drain.run(due)
        finally:
            self._draining = None
            if drain.unfinished:
                self._ring()
        return drain.gave_out

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody drains any more
            self._loop.call_soon_threadsafe(what)

    def _stop_draining(self) -> None:
        if self._draining is not None:
            self._draining.stop()

    def _nudge(self) -> None:
        if self._draining is not None:
            self._draining.nudge()

    def _ring(self) -> None:
        self._doorbell.ring(DELIVER)

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where it is installed."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop
