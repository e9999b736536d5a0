"""The delivery engine of a worker process: an event loop in its own thread, which outlives tasks."""

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
STOP_SECONDS = 10
JOIN_SECONDS = 1.0
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Engine:
    """
    Sends the due emails of one database. Thread-safe; create it after a fork.

    Args:
        channels: By priority; empty: no mail is configured and nothing is claimed.
        at_most: For how long one drain may claim.
        claim_size: Jobs per claim.
        record_rows: Outcomes per record; a killed process repeats at most these and one email per session.
        moved: Called whenever a drain makes progress, even while the database is unavailable.
        domains: Rates by recipient domain.
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
        """Whether anything is due that this engine, being idle, can send."""
        if not self._routes or self._one_at_a_time.locked():
            return False
        with self._database.single() as connection:
            return items.is_due(connection, DELIVER)

    def drain(self) -> dict[str, float]:
        """
        Send until nothing is due; ring for another drain if the time is up first.

        A call during another drain makes that one claim again and waits a second for it to end, so that a server
        that hangs delays one caller only.
        """
        self._call_soon(self._nudge)
        began = monotonic()
        report: Counter[str] = Counter()
        if self._one_at_a_time.acquire(timeout=JOIN_SECONDS):
            try:
                if self._routes and not self._stopped:
                    self._wait_for(self._drain(report))
            finally:
                self._one_at_a_time.release()
        return {**{name: report[name] for name in COUNTS}, "seconds": round(monotonic() - began, 3)}

    def every(self, seconds: float, what: Callable[[], None]) -> None:
        """Call this in the event loop now and every *seconds*, until the engine stops."""

        def call() -> None:
            what()
            self._loop.call_later(seconds, call)

        self._call_soon(call)

    def stop(self, *, at_most_seconds: float = STOP_SECONDS) -> None:
        """
        Release emails that are not begun, finish those being sent, close the sessions. Safe to repeat.

        Emails that take longer, because of the relay or the database, are left to their leases.
        """
        self._stopped = True
        self._call_soon(self._stop_draining)
        if not self._one_at_a_time.acquire(timeout=at_most_seconds):
            log.warning("engine.stop_timed_out", effect="unfinished emails come due when their leases end")
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
        self._thread.join(STOP_SECONDS)
        self._threads.shutdown(wait=True)
        self._loop.close()

    async def _drain(self, report: Counter[str]) -> None:
        """Drain over one relay; if its breaker opens, continue over the next."""
        for _ in range(len(self._routes)):
            due = await self._ledger.due_items()
            route = await self._routes.first_available() if due.any else None
            if route is None or self._stopped or not await self._breaker_opened(route, due, report):
                return

    async def _breaker_opened(self, route: Route, due: DueItems, report: Counter[str]) -> bool:
        """Drain over this relay; whether its breaker opened before all emails were sent."""
        self._draining = drain = self._new_drain(route=route, report=report)
        try:
            await drain.run(due)
        finally:
            self._draining = None
            if drain.unfinished:
                self._ring()
        return drain.breaker_opened

    def _call_soon(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the engine has stopped
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
    """uvloop's, if installed."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop
