"""
Two workers and a forge that changes under them, in every possible order of their steps.

Each worker has a thread of its own and stops when it has asked the forge, and one of them also before it commits what
it wrote; the scheduler lets one of them continue at a time. PostgreSQL says whether one waits for the other's lock.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Semaphore, get_ident
from time import monotonic
from typing import Any

from sqlalchemy import Connection, event, text

from notify.store.database import Database
from tests.support.race import LIMIT_SECONDS

BLOCKED = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")
A_MOMENT_SECONDS = 0.003
# The first statement of each transaction that writes what the forge has answered.
WRITES = "INSERT INTO notify.forge_repositories"

FORGE = "forge"
"""The step that the forge takes; a worker's is its number."""

Drain = Callable[[], Any]
Pick = tuple[int, int]
"""Which was picked, of how many."""


class Worker:
    """
    A stage's drain that takes one step at a time.

    Args:
        watcher: A connection, to ask whether this one is blocked.
        commits_apart: Whether it stops before it commits as well.

    Attributes:
        has_just_asked: It stands before the transaction that writes what the forge has answered.
    """

    def __init__(self, drain: Drain, *, watcher: Connection, threads: ThreadPoolExecutor, commits_apart: bool) -> None:
        self.has_ended = self.has_asked = self.has_just_asked = False
        self._commits_apart = commits_apart
        self._drain, self._watcher, self._threads = drain, watcher, threads
        self._thread: int | None = None
        self._pid = 0
        self._waits = self._is_writing = False
        self._go, self._stands = Semaphore(0), Semaphore(0)
        self._answer: Future[Any] | None = None

    @property
    def can_go_on(self) -> bool:
        """Whether it has a step to take, and no lock is in its way."""
        if self._waits:
            self._until_it_stands()
        return not self._waits and not self.has_ended

    def step(self) -> None:
        """Continue to the next stop, the end, or a lock that the other worker has."""
        self.has_just_asked = False
        if self._answer is None:
            self._answer = self._threads.submit(self._run)
        else:
            self._go.release()
        self._until_it_stands()

    def answer(self) -> Any:
        """
        What the drain returned.

        Raises:
            Exception: What it raised.
        """
        assert self._answer is not None
        return self._answer.result(LIMIT_SECONDS)

    def _run(self) -> Any:
        self._thread = get_ident()
        try:
            return self._drain()
        finally:
            # The other worker may get the same thread.
            self._thread = None
            self.has_ended = True
            self._stands.release()

    def before(self, connection: Connection, statement: str) -> None:
        """Stop before a statement of its own thread that begins to write."""
        if get_ident() != self._thread:
            return
        self._pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        if WRITES in statement:
            self.has_asked = self.has_just_asked = True
            self._is_writing = self._commits_apart
            self._stop()

    def before_commit(self) -> None:
        """Stop before its own thread commits what it wrote."""
        if get_ident() == self._thread and self._is_writing:
            self._is_writing = False
            self._stop()

    def _stop(self) -> None:
        self._stands.release()
        assert self._go.acquire(timeout=LIMIT_SECONDS), "the scheduler is gone"

    def _until_it_stands(self) -> None:
        end = monotonic() + LIMIT_SECONDS
        while not self._stands.acquire(timeout=A_MOMENT_SECONDS):
            assert monotonic() < end, "the worker neither stands nor waits for a lock"
            if self._pid and self._watcher.scalar(BLOCKED, {"pid": self._pid}):
                self._waits = True
                return
        self._waits = False


def every_order(
    database: Database,
    drains: tuple[Drain, Drain],
    *,
    prepare: Callable[[], int],
    meanwhile: Callable[[int], None] | None,
    commits_apart: int | None,
) -> Iterator[tuple[int, Sequence[str]]]:
    """
    What was prepared and the steps that were taken, once for each possible order.

    Args:
        prepare: Makes what both will work on, before each run.
        meanwhile: What happens on the forge, once in each run, after one worker has asked it or both have.
        commits_apart: Which of the two stops before it commits; None: neither does.
    """
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(2))
        watcher = stack.enter_context(database.engine.connect())
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        pair: list[Worker] = []
        stack.enter_context(_stopping(database, pair))
        picks: list[int] | None = []
        while picks is not None:
            prepared = prepare()
            pair[:] = [
                Worker(drain, watcher=watcher, threads=threads, commits_apart=number == commits_apart)
                for number, drain in enumerate(drains)
            ]
            steps, picked = _run(pair, partial(meanwhile, prepared) if meanwhile else None, picks)
            for worker in pair:
                worker.answer()
            yield prepared, steps
            picks = _next(picked)


@contextmanager
def _stopping(database: Database, workers: Sequence[Worker]) -> Iterator[None]:
    """Have these workers stop. The engine's listeners must not change while a thread uses it."""

    def before(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        for worker in workers:
            worker.before(connection, statement)

    def before_commit(_connection: Connection) -> None:
        for worker in workers:
            worker.before_commit()

    event.listen(database.engine, "before_cursor_execute", before)
    event.listen(database.engine, "commit", before_commit)
    yield
    event.remove(database.engine, "before_cursor_execute", before)
    event.remove(database.engine, "commit", before_commit)


def _run(
    pair: Sequence[Worker], meanwhile: Callable[[], None] | None, picks: Sequence[int]
) -> tuple[list[str], list[Pick]]:
    """Take these picks, and then the first of what is possible."""
    steps: list[str] = []
    picked: list[Pick] = []

    def pick(options: int) -> int:
        if options > 1:
            picked.append((picks[len(picked)] if len(picked) < len(picks) else 0, options))
            return picked[-1][0]
        return 0

    while not all(worker.has_ended for worker in pair):
        able = [number for number, worker in enumerate(pair) if worker.can_go_on]
        if not able:
            continue
        number = able[pick(len(able))]
        pair[number].step()
        steps.append(f"{number}")
        if meanwhile and pair[number].has_just_asked and (all(worker.has_asked for worker in pair) or pick(2)):
            meanwhile()
            meanwhile = None
            steps.append(FORGE)
    return steps, picked


def _next(picked: Sequence[Pick]) -> list[int] | None:
    """The next picks, as one counts; null after the last."""
    left = list(picked)
    while left and left[-1][0] + 1 == left[-1][1]:
        left.pop()
    return [*(number for number, _ in left[:-1]), left[-1][0] + 1] if left else None
