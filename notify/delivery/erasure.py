"""Erasing a person: their emails that wait are cancelled, then everything that names them goes, a page at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex

from notify.delivery import by_hand
from notify.store.database import Database
from notify.store.directory import erasure
from notify.store.outbox.by_hand import Action
from notify.store.outbox.job_filter import JobFilter

PAGE = 1_000
EVENTS = 10_000
EVERY_ID = 2**63 - 1


@dataclass(slots=True)
class Erased:
    """How many emails and events lost the person; ``waiting`` events keep their words until emails have left."""

    emails: int = 0
    events: int = 0
    waiting: int = 0


def erase(database: Database, username: str) -> Iterator[Erased]:
    """
    How much was erased so far, after each page. Safe to stop and to repeat.

    An email that is on its way at this moment may be recorded afterwards; repeating finds it.
    """
    alias, done = f"{erasure.ERASED}-{token_hex(4)}", Erased()
    for _ in by_hand.pages(database, Action.CANCEL, JobFilter(username=username), last_id=EVERY_ID):
        yield done
    with database.begin() as connection:
        erasure.erase_choices(connection, username)
    while count := _emails(database, username, alias):
        done.emails += count
        yield done
    while _notifications(database, username, alias):
        yield done
    walked = _events(database, username, alias, after_id=0)
    while walked.last_id is not None:
        done.events += walked.erased
        done.waiting += walked.waiting
        yield done
        walked = _events(database, username, alias, after_id=walked.last_id)


def _emails(database: Database, username: str, alias: str) -> int:
    with database.begin() as connection:
        return erasure.erase_emails(connection, username, alias=alias, limit=PAGE)


def _notifications(database: Database, username: str, alias: str) -> int:
    with database.begin() as connection:
        return erasure.erase_notifications(connection, username, alias=alias, limit=PAGE)


def _events(database: Database, username: str, alias: str, *, after_id: int) -> erasure.Walked:
    with database.begin() as connection:
        return erasure.erase_events(connection, username, alias=alias, after_id=after_id, limit=EVENTS)
