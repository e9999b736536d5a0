"""Retries, cancels or replays many jobs, one transaction per page, so that no worker waits long."""

from collections.abc import Iterator

from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import DBAPIError

from notify.store.database import Database
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action, ActionPage, act

PAGE = 500
# A deadlock with a worker rolls back the whole page.
MAX_DEADLOCKS = 5


def pages(
    database: Database, action: Action, wanted: JobFilter, *, last_id: int, size: int = PAGE
) -> Iterator[ActionPage]:
    """
    Apply the action to all matching jobs with ids up to *last_id*; yields each page after its commit.

    Callers may stop at any page; calling it again continues from there.
    """
    page = _page(database, action, wanted, after_id=0, last_id=last_id, size=size)
    while page.last_id is not None:
        yield page
        page = _page(database, action, wanted, after_id=page.last_id, last_id=last_id, size=size)


def _page(
    database: Database, action: Action, wanted: JobFilter, *, after_id: int, last_id: int, size: int
) -> ActionPage:
    deadlocks = 0
    while True:
        try:
            with database.begin() as connection:
                return act(connection, action, wanted, after_id=after_id, last_id=last_id, limit=size)
        except DBAPIError as error:
            deadlocks += 1
            if deadlocks == MAX_DEADLOCKS or not isinstance(error.orig, DeadlockDetected):
                raise
