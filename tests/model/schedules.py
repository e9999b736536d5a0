"""
Two transactions side by side, in every possible order of their statements.

Each runs in a thread of its own and stops before its statements and before its commit; the scheduler lets one of them
continue at a time. PostgreSQL says whether one waits for the other's lock; no clock is involved.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Semaphore
from time import monotonic
from typing import Any

from sqlalchemy import Connection, event, text

from notify.store.database import Database

Work = Callable[[Connection], Any]

BLOCKED = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")
A_MOMENT_SECONDS = 0.003
LIMIT_SECONDS = 60
ANYTHING = re.compile("")


class Session:
    """
    A transaction that takes one step at a time.

    Args:
        watcher: Another connection, to ask whether this one is blocked.
        stops_at: A text in the statements before which it stops.
    """

    def __init__(
        self,
        connection: Connection,
        work: Work,
        *,
        watcher: Connection,
        threads: ThreadPoolExecutor,
        stops_at: re.Pattern[str],
    ) -> None:
        self.waits = self.has_ended = False
        self._stops_at = stops_at
        self._watcher = watcher
        self._pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        self._go = Semaphore(0)
        self._stands = Semaphore(0)
        self._answer: Future[Any] = threads.submit(self._run, connection, work)
        self._until_it_stands()

    @property
    def can_go_on(self) -> bool:
        """Whether it has a step to take, and no lock is in its way."""
        if self.waits:
            self._until_it_stands()
        return not self.waits and not self.has_ended

    def step(self) -> None:
        """Continue to the next statement, the end, or a lock that another transaction has."""
        self._go.release()
        self._until_it_stands()

    def answer(self) -> Any:
        """
        What the work returned.

        Raises:
            Exception: What the work raised; a deadlock is an OperationalError.
        """
        return self._answer.result(LIMIT_SECONDS)

    def _run(self, connection: Connection, work: Work) -> Any:
        event.listen(connection, "before_cursor_execute", self._before)
        try:
            with connection.begin():
                answer = work(connection)
                self._stop()
            return answer
        finally:
            event.remove(connection, "before_cursor_execute", self._before)
            self.has_ended = True
            self._stands.release()

    def _before(self, _connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if self._stops_at.search(statement):
            self._stop()

    def _stop(self) -> None:
        self._stands.release()
        assert self._go.acquire(timeout=LIMIT_SECONDS), "the scheduler is gone"

    def _until_it_stands(self) -> None:
        end = monotonic() + LIMIT_SECONDS
        while not self._stands.acquire(timeout=A_MOMENT_SECONDS):
            assert monotonic() < end, "the session is neither stopped nor waiting for a lock"
            if self._watcher.scalar(BLOCKED, {"pid": self._pid}):
                self.waits = True
                return
        self.waits = False


def every_order(
    database: Database, first: Work, second: Work, *, reset: Work, stops_at: re.Pattern[str] = ANYTHING
) -> Iterator[tuple[Any, Any]]:
    """
    The answers of both, once for each possible order of their steps.

    Args:
        reset: Restores the tables to their initial state.
        stops_at: A text in the statements whose order matters; others follow the statement before them.
    """
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(2))
        watcher, *connections = [stack.enter_context(database.engine.connect()) for _ in range(3)]
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        turns: list[int] | None = []
        while turns is not None:
            with database.begin() as connection:
                reset(connection)
            pair = [
                Session(connection, work, watcher=watcher, threads=threads, stops_at=stops_at)
                for connection, work in zip(connections, (first, second), strict=True)
            ]
            taken = _run(pair, turns)
            yield pair[0].answer(), pair[1].answer()
            turns = _next(taken)


def _run(pair: Sequence[Session], turns: Sequence[int]) -> list[int]:
    """Let them take these turns, and then the first before the second; every turn at which there was a choice."""
    taken: list[int] = []
    while not all(session.has_ended for session in pair):
        able = [number for number, session in enumerate(pair) if session.can_go_on]
        if len(able) > 1:
            taken.append(turns[len(taken)] if len(taken) < len(turns) else 0)
            able = [taken[-1]]
        for number in able:
            pair[number].step()
    return taken


def _next(taken: Sequence[int]) -> list[int] | None:
    """The next sequence of turns, counting a run's turns as a binary number; null after the last."""
    chosen = list(taken)
    while chosen and chosen[-1] == 1:
        chosen.pop()
    return [*chosen[:-1], 1] if chosen else None
