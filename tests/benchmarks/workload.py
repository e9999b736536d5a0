"""The workload: people in the directory, and comments that concern twenty of them each."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import notify
from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.preferences import Person
from notify.doorbell import NoDoorbell
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory
from tests.benchmarks import comment_bodies

AUDIENCE = 20
PEOPLE = 400
DOMAINS = 8
ACTOR = "bench-actor"
EVENTS_IN_A_TRANSACTION = 100
LONGEST_FAN_OUT = timedelta(days=1)


class FewerEmailsThanAsked(NotifyError):
    """The fan-out wrote fewer emails than requested: somebody in the directory has preferences."""


def fill_directory(database: Database) -> None:
    """Put the actor and all recipients into the directory. Safe to repeat."""
    with database.begin() as connection:
        for name in (ACTOR, *map(username, range(PEOPLE))):
            directory.put_person(connection, Person(username=name, email=address(name), display_name=name.title()))


def emit(database: Database, *, emails: int) -> None:
    """Emit events for exactly this many emails, a hundred events a transaction, without ringing."""
    waiting = list(events(emails))
    for start in range(0, len(waiting), EVENTS_IN_A_TRANSACTION):
        with database.begin() as connection:
            for event in waiting[start : start + EVENTS_IN_A_TRANSACTION]:
                notify.emit(connection, event, doorbell=NoDoorbell())


def fan_out(settings: Settings, database: Database) -> int:
    """Fan out all that is due, as a worker would; the number of emails."""
    stage = wiring.fan_out(settings, database, doorbell=NoDoorbell(), worker=uuid4())
    written = 0
    while stage.is_due():
        written += int(stage.drain()["told"])
    return written


def enqueue(settings: Settings, database: Database, *, emails: int) -> None:
    """
    Emit and fan out until this many more emails are pending.

    Raises:
        FewerEmailsThanAsked: There are fewer.
    """
    emit(database, emails=emails)
    written = fan_out(settings, database)
    if written < emails:
        raise FewerEmailsThanAsked(asked=emails, written=written)


def events(emails: int, *, audience: int = AUDIENCE) -> Iterator[Mapping[str, Any]]:
    """Comments on one change list each, under new keys, the last one for the remaining recipients."""
    run = uuid4().hex[:12]
    for number, first in enumerate(range(0, emails, audience)):
        size = min(audience, emails - first)
        yield comment(run, number, [username((first + one) % PEOPLE) for one in range(size)])


def comment(run: str, number: int, audience: Sequence[str]) -> dict[str, Any]:
    """A comment by somebody outside the audience, the first of whom is the author of the change list."""
    author, *reviewers = audience
    link = f"CL-{run}-{number}"
    return {
        "key": f"bench-{run}-{number}",
        "type": "cl.comment.created",
        "actor": ACTOR,
        "cl": {
            "link": link,
            "title": "Cap the upload retry",
            "url": f"https://review.example.com/{link}",
            "repository": "monorepo",
            "author": author,
            "reviewers": reviewers,
        },
        "comment": {
            "id": str(number),
            "body": comment_bodies.body(number),
            "url": f"https://review.example.com/{link}#c{number}",
            "path": "src/upload/retry.py",
            "line": 42,
            "code": "delay = base * 2 ** n",
        },
    }


def username(number: int) -> str:
    """The name of one of the ``PEOPLE``."""
    return f"bench-{number:04}"


def address(name: str) -> str:
    """The address of this person; people are spread over domains, as each domain may use only half of the sessions."""
    return f"{name}@mail-{sum(name.encode()) % DOMAINS}.example.com"
