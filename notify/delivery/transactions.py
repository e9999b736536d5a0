"""Short transactions for an event loop: each runs in a thread, so that the loop never blocks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from notify.store.database import Database

P = ParamSpec("P")
Result = TypeVar("Result")


class Transactions:
    """
    Decided: a thread pool of its own. The loop's default pool resolves names, and a hanging resolver would stop the
        renewal of leases.
    """

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database = database
        self._threads = threads

    async def run(
        self, work: Callable[Concatenate[Connection, P], Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """What *work* returns, once its transaction is committed."""

        def transact() -> Result:
            with self._database.begin() as connection:
                return work(connection, *args, **kwargs)

        return await self.call(transact)

    async def read(
        self, work: Callable[Concatenate[Connection, P], Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """What *work* returns, which is one read-only statement."""

        def execute() -> Result:
            with self._database.single() as connection:
                return work(connection, *args, **kwargs)

        return await self.call(execute)

    async def call(self, function: Callable[[], Result]) -> Result:
        """What a blocking function returns, without a transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)
