"""Many jobs by hand: a page at a time, each in a transaction of its own, so that no worker waits long."""

from collections.abc import Iterator

from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import DBAPIError

from notify.store.database import Database
from notify.store.outbox import by_hand
from notify.store.outbox.by_hand import Action, Page
from notify.store.outbox.job_filter import JobFilter

PAGE = 500
# A worker locked the same jobs in another order, which undoes the page as a whole.
MOST_RACES = 5


def pages(database: Database, action: Action, wanted: JobFilter, *, last_id: int, size: int = PAGE) -> Iterator[Page]:
    """
    Do this to all of these jobs with an id up to *last_id*; what each page did, after its commit.

    What is done stays done when the caller stops, and doing it again continues from there.
    """
    page = _page(database, action, wanted, after_id=0, last_id=last_id, size=size)
    while page.last_id is not None:
        yield page
        page = _page(database, action, wanted, after_id=page.last_id, last_id=last_id, size=size)


def _page(database: Database, action: Action, wanted: JobFilter, *, after_id: int, last_id: int, size: int) -> Page:
    races = 0
    while True:
        try:
            with database.begin() as connection:
                return by_hand.act(connection, action, wanted, after_id=after_id, last_id=last_id, limit=size)
        except DBAPIError as error:
            races += 1
            if races == MOST_RACES or not isinstance(error.orig, DeadlockDetected):
                raise
