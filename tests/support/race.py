"""Two sessions at once; locks force the interleaving, never luck or sleeping."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import ParamSpec, TypeVar

from sqlalchemy import text

from notify.store.database import Database
from tests.support.wait import until

P = ParamSpec("P")
Result = TypeVar("Result")

BLOCKED = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
LIMIT_SECONDS = 60


@contextmanager
def meanwhile(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Iterator[Future[Result]]:
    """Run the function in a thread beside the block; yields its future answer."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(function, *args, **kwargs)


def blocked_session(database: Database) -> int:
    """The process id of a session of this database that waits for a lock; waits until there is one."""

    def waiting() -> int:
        with database.begin() as connection:
            return connection.scalar(BLOCKED) or 0

    return until(waiting)


def all_at_once(functions: list[Callable[[], Result]]) -> list[Result]:
    """The answers of all functions, started at the same moment in their own threads."""
    barrier = Barrier(len(functions))

    def run(function: Callable[[], Result]) -> Result:
        barrier.wait(LIMIT_SECONDS)
        return function()

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(run, functions))
