"""Erases a person: cancels their pending emails, then deletes or anonymises their rows, page by page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from sqlalchemy import Connection

from notify.delivery import bulk_actions
from notify.store.database import Database
from notify.store.directory import erasure
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action

PAGE = 1_000
EVENTS = 10_000
EVERY_ID = 2**63 - 1


@dataclass(slots=True)
class Erased:
    """How many emails and events were anonymised; ``waiting`` events are needed by pending emails."""

    emails: int = 0
    events: int = 0
    waiting: int = 0


def erase(database: Database, username: str) -> Iterator[Erased]:
    """
    Yields the counts so far after each page. Safe to stop and to repeat.

    An email that is being sent may be recorded afterwards; a repetition finds it.
    """
    alias, erased = f"{erasure.ERASED}-{token_hex(4)}", Erased()
    for _ in bulk_actions.pages(database, Action.CANCEL, JobFilter(username=username), last_id=EVERY_ID):
        yield erased
    with database.begin() as connection:
        erasure.erase_directory(connection, username)
    for emails in _pages(database, partial(erasure.erase_emails, username=username, alias=alias, limit=PAGE)):
        erased.emails += emails
        yield erased
    for _ in _pages(database, partial(erasure.erase_notifications, username=username, alias=alias, limit=PAGE)):
        yield erased
    last_id: int | None = 0
    while last_id is not None:
        with database.begin() as connection:
            walked = erasure.erase_events(connection, username, alias=alias, after_id=last_id, limit=EVENTS)
        last_id = walked.last_id
        erased.events += walked.erased
        erased.waiting += walked.waiting
        yield erased


def _pages(database: Database, erase_page: Callable[[Connection], int]) -> Iterator[int]:
    """Yields each page's row count after its commit, until a page is empty."""
    rows = 1
    while rows:
        with database.begin() as connection:
            rows = erase_page(connection)
        yield rows
