"""An application that emits events in its own transactions, rolls some back, and records which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from threading import Lock

import notify
from notify.domain.ports import Doorbell
from notify.domain.preferences import Person
from notify.domain.threads import message_id
from notify.doorbell import NoDoorbell
from notify.store.database import UNAVAILABLE, Database
from notify.store.directory import directory
from tests.support.harness import comment

HOST = "example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """
    An event that was emitted, and whom it concerns.

    ``committed`` is null if the database went away during the commit, so that only the table knows.
    """

    key: str
    link: str
    people: tuple[str, ...]
    committed: bool | None
    at: datetime

    @property
    def message_ids(self) -> dict[str, str]:
        """The Message-ID of each person's email, computed without looking at any table."""
        return {name: message_id(self.link, event_key=self.key, username=name, host=HOST) for name in self.people}


@dataclass
class Producer:
    """
    Emits events about change lists of its own. Thread-safe.

    Args:
        doorbell: Null rings for nobody; workers find the rows by sweeping.
    """

    database: Database
    doorbell: Doorbell | None = None
    log: list[Emitted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self._lock = Lock()

    def add_people(self, people: Sequence[str]) -> None:
        """Put these people into the directory, each with an address at example.com."""
        with self.database.begin() as connection:
            for name in people:
                directory.put_person(connection, Person(username=name, email=address(name)))

    def emit(
        self,
        *people: str,
        roll_back: bool = False,
        before_the_end: Callable[[], None] = lambda: None,
        on: str | None = None,
        by: str = "stranger",
    ) -> Emitted:
        """
        Emit one event that concerns these people, who must be in the directory.

        Args:
            before_the_end: Called within the transaction, once the event is written.
            on: The change list; null takes a new one.
            by: The event's actor.
        """
        with self._lock:
            number = next(self._numbers)
        key, link = f"event-{number}", on or f"CL-{number}"
        event = comment(key=key, link=link, actor=by, reviewers=people, body=key)
        committed = self._transact(event, before_the_end, roll_back=roll_back)
        emitted = Emitted(key=key, link=link, people=people, committed=committed, at=datetime.now(UTC))
        self.log.append(emitted)
        return emitted

    def _transact(
        self, event: dict[str, object], before_the_end: Callable[[], None], *, roll_back: bool
    ) -> bool | None:
        """Whether the event is stored; null if unknown."""
        stage = False
        try:
            with self.database.engine.connect() as connection, connection.begin() as transaction:
                notify.emit(connection, event, doorbell=self.doorbell or NoDoorbell())
                before_the_end()
                if roll_back:
                    transaction.rollback()
                    return False
                stage = True
        except UNAVAILABLE:
            return None if stage else False
        return True


def address(name: str) -> str:
    """The address of this person."""
    return f"{name}@{HOST}"
