"""
Calls a function when the transaction of a driver's connection is over.

*Decided*: polling, because neither libpq nor asyncpg has an event for it. Both keep the transaction's status in memory,
so that asking costs no round trip, and another thread may ask.
"""

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from functools import partial
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeAlias

from psycopg.pq import TransactionStatus

from notify.store.connection_kinds import is_async, is_asyncpg, released

MAX_TRANSACTION_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.0002
MAX_PAUSE_SECONDS = 0.05
LONGER = 1.5
FINISHED = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}

# psycopg's, psycopg2's or asyncpg's connection; None: SQLAlchemy has let go of it.
Driver: TypeAlias = Any


def is_over(driver: Driver) -> bool:
    """Whether no transaction is open there; none is, if it was closed or went back to its pool."""
    if driver is None:
        return True
    if not is_asyncpg(driver):
        return driver.info.transaction_status in FINISHED
    try:
        return driver.is_closed() or not driver.is_in_transaction()
    except released():
        return True


def when_over(driver: Driver, callback: Callable[[], None]) -> None:
    """
    Call it once no transaction is open there, or after a minute: in the running event loop, if the driver is
    asynchronous, else in a thread.
    """
    until = monotonic() + MAX_TRANSACTION_SECONDS
    if is_over(driver):
        callback()
    elif is_async(driver):
        _look_again(get_running_loop(), driver, callback, FIRST_PAUSE_SECONDS, until)
    else:
        Thread(target=_await, args=(driver, callback, until), name="after-commit", daemon=True).start()


def _look_again(
    loop: AbstractEventLoop, driver: Driver, callback: Callable[[], None], pause: float, until: float
) -> None:
    if is_over(driver) or monotonic() >= until:
        callback()
    else:
        longer = min(pause * LONGER, MAX_PAUSE_SECONDS)
        loop.call_later(pause, partial(_look_again, loop, driver, callback, longer, until))


def _await(driver: Driver, callback: Callable[[], None], until: float) -> None:
    pause = FIRST_PAUSE_SECONDS
    while not is_over(driver) and monotonic() < until:
        sleep(pause)
        pause = min(pause * LONGER, MAX_PAUSE_SECONDS)
    callback()
