"""Exports a person's rows, or erases them: cancels pending emails, then deletes or anonymises rows, page by page."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection

from notify.delivery import bulk_actions
from notify.store.database import Database
from notify.store.directory import erasure
from notify.store.directory.person_names import PersonNames, person_names
from notify.store.forges import personal_data
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action

PAGE = 1_000
EVENTS = 10_000
DELIVERIES = 1_000
EVERY_ID = 2**63 - 1


@dataclass(slots=True)
class Erased:
    """How many rows were anonymised or emptied; ``waiting`` events and deliveries are still needed."""

    emails: int = 0
    events: int = 0
    deliveries: int = 0
    waiting: int = 0


def erase(database: Database, username: str) -> Iterator[Erased]:
    """
    Yields the counts so far after each page. Safe to stop and to repeat.

    An email that is being sent may be recorded afterwards, and a pending delivery becomes an event; a repetition finds
    both. The logins are forgotten last, and only if nothing waits.
    """
    alias, erased = f"{erasure.ERASED}-{token_hex(4)}", Erased()
    for _ in bulk_actions.pages(database, Action.CANCEL, JobFilter(username=username), last_id=EVERY_ID):
        yield erased
    with database.begin() as connection:
        names = person_names(connection, username)
        erasure.erase_directory(connection, names)
    for emails in _pages(database, partial(erasure.erase_emails, username=username, alias=alias, limit=PAGE)):
        erased.emails += emails
        yield erased
    for _ in _pages(database, partial(erasure.erase_notifications, username=username, alias=alias, limit=PAGE)):
        yield erased
    for page in _event_pages(database, names, alias=alias):
        erased.events += page.erased
        erased.waiting += page.waiting
        yield erased
    for ids in _delivery_pages(database):
        with database.begin() as connection:
            page = personal_data.erase_deliveries(connection, names, ids)
        erased.deliveries += page.erased
        erased.waiting += page.waiting
        yield erased
    yield from _erase_mirror(database, names, erased)


def remaining(database: Database, username: str) -> dict[str, int]:
    """How many rows are about the person, by table, where there are any. Reads all events and deliveries, in pages."""
    with database.begin() as connection:
        names = person_names(connection, username)
        found = dict(erasure.remaining(connection, username)) | dict(personal_data.remaining(connection, names))
    found["events"] = sum(page.waiting for page in _event_pages(database, names, alias=None))
    found["webhook_deliveries"] = 0
    for ids in _delivery_pages(database):
        with database.begin() as connection:
            found["webhook_deliveries"] += personal_data.count_deliveries(connection, names, ids)
    return {table: count for table, count in found.items() if count}


def export(database: Database, username: str) -> dict[str, list[dict[str, Any]]]:
    """Every row about the person, by table. Reads all events and deliveries."""
    with database.begin() as connection:
        names = person_names(connection, username)
        found = erasure.export(connection, names) | personal_data.export(connection, names)
    found["webhook_deliveries"] = []
    for ids in _delivery_pages(database):
        with database.begin() as connection:
            found["webhook_deliveries"] += personal_data.export_deliveries(connection, names, ids)
    return found


def _erase_mirror(database: Database, names: PersonNames, erased: Erased) -> Iterator[Erased]:
    with database.begin() as connection:
        repositories = personal_data.repositories(connection, names)
    for id_, forge in repositories:
        with database.begin() as connection:
            personal_data.erase_repository(connection, names, id_, forge=forge)
        yield erased
    with database.begin() as connection:
        personal_data.erase_entries(connection, names)
        if not erased.waiting:
            personal_data.forget_logins(connection, names.username)
    yield erased


def _event_pages(database: Database, names: PersonNames, *, alias: str | None) -> Iterator[erasure.ErasedPage]:
    """Yields each page after its commit; ``alias`` None: only counts."""
    last_id: int | None = 0
    while last_id is not None:
        with database.begin() as connection:
            page = erasure.erase_events(connection, names, alias=alias, after_id=last_id, limit=EVENTS)
        last_id = page.last_id
        yield page


def _delivery_pages(database: Database) -> Iterator[Sequence[int]]:
    """Yields the ids of each page of deliveries, the oldest first."""
    ids: Sequence[int] = [0]
    while ids:
        with database.begin() as connection:
            ids = personal_data.delivery_page(connection, after_id=ids[-1], limit=DELIVERIES)
        if ids:
            yield ids


def _pages(database: Database, erase_page: Callable[[Connection], int]) -> Iterator[int]:
    """Yields each page's row count after its commit, until a page is empty."""
    rows = 1
    while rows:
        with database.begin() as connection:
            rows = erase_page(connection)
        yield rows
