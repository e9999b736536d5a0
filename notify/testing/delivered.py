"""
What an application's events became on an embedded stack, for the assertions of a test.

Its types can be imported without the extra ``embedded``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from notify.domain.outcomes import EventStatus, JobStatus
from notify.domain.preferences import Person
from notify.store.directory.directory import put_person
from notify.store.outbox.jobs import EventWithPeople, NotificationView, of_event

if TYPE_CHECKING:
    from notify.embedded.mailbox import Email
    from notify.testing.delivery_stack import DeliveryStack

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class DeliveredEmail:
    """
    An email that reached the catcher.

    Attributes:
        to: The address that it was delivered to.
        headers: Decoded; of several with one name, the first.
    """

    to: str
    subject: str
    text: str
    html: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Delivered:
    """What this test emitted and committed, and the emails about it. No two events share one: nothing is bundled."""

    _stack: "DeliveryStack"

    @property
    def database_url(self) -> str:
        """``postgresql://…`` of the database to emit into."""
        return self._stack.database.url

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's, for that database."""
        return self._stack.engine

    def add_person(self, username: str, **fields: Any) -> None:  # noqa: ANN401 - by the field
        """
        Put somebody into the directory, with the address ``username@example.com`` unless *fields* have another.

        Args:
            fields: Of ``PUT /api/v1/people/{username}``, such as ``email``, ``locale`` and ``is_bot``.
        """
        person = Person(username=username, **{"email": f"{username}@example.com", **fields})
        with self._stack.database.begin() as connection:
            put_person(connection, person)

    def outcome(self, key: str, *, seconds: float = 30) -> dict[str, str]:
        """
        What became of this event, for each person whom it concerns: ``sent``, why it was not, such as ``is_actor``, or
        what the email waits for, such as ``daily``.

        Waits until nothing more happens.

        Raises:
            AssertionError: It took too long; the message says how far the event is.
        """
        return {one.username: one.why or _waits_for(one) or one.status for one in self._ended(key, seconds).people}

    def emails(self, key: str, *, seconds: float = 30) -> Sequence[DeliveredEmail]:
        """The emails about this event, in the order of their addresses. Waits as ``outcome`` does."""
        sent = {f"<{one.message_id}>" for one in self._ended(key, seconds).people}
        found = [_delivered(email) for email in self._stack.caught() if email.header("Message-ID") in sent]
        return sorted(found, key=lambda email: email.to)

    def _ended(self, key: str, seconds: float) -> EventWithPeople:
        end, rung = monotonic() + seconds, False
        while not ((event := self._find(key)) and _is_over(event)):
            if event and not rung:
                self._stack.ring()
                rung = True
            if monotonic() > end:
                message = f"after {seconds:g} s, {_progress(key, event)}"
                raise AssertionError(message)
            sleep(POLL_SECONDS)
        return event

    def _find(self, key: str) -> EventWithPeople | None:
        with self._stack.database.begin() as connection:
            return of_event(connection, key)


def _is_over(event: EventWithPeople) -> bool:
    if event.status in {EventStatus.PENDING, EventStatus.WORKING}:
        return False
    return not any(one.status in {JobStatus.PENDING, JobStatus.SENDING} and not _waits_for(one) for one in event.people)


def _waits_for(one: NotificationView) -> str | None:
    return one.deferred_by if one.status == JobStatus.PENDING else None


def _progress(key: str, event: EventWithPeople | None) -> str:
    if event is None:
        return f"no event with the key {key!r} was committed"
    people = "".join(f", {one.username} {one.status}" for one in event.people)
    return f"{key!r} is {event.status}{f' ({event.last_error})' if event.last_error else ''}{people}"


def _delivered(email: "Email") -> DeliveredEmail:
    return DeliveredEmail(
        to=email.header("Delivered-To"),
        subject=email.header("Subject"),
        text=email.text,
        html=email.html,
        headers={name: email.header(name) for name, _ in email.headers},
    )
