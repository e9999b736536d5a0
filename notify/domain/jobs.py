"""A job: one letter to one person about one event, and what must be known to write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.events import ChangeList, Event
from notify.domain.preferences import Choices, EventType, Person
from notify.domain.schedule import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    A claimed ``email_jobs`` row.

    ``message_id`` is that of its letter. A row that leaves with another's letter names it with
    ``leader_id``; the job of a letter that tells of several events has the other rows as ``followers``.
    ``held_by`` is what it has waited for besides; None: nothing.
    """

    claim: Claim
    event_id: int
    event_type: str
    cl_link: str
    username: str
    to_email: str
    reason: Reason
    message_id: str
    expired: bool
    leader_id: int | None = None
    held_by: Hold | None = None
    followers: tuple["Job", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A claimed job with today's facts, for the last look. None means the directory has no such row."""

    job: Job
    event: Event
    event_type: EventType | None
    change_list: ChangeList | None
    person: Person | None
    choices: Choices
    actor: Person | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """
    What a channel needs to write and send one letter. Facts, not words.

    ``message_id`` is without angle brackets and the same at every try. The event's type is the one
    under which the person is told, which for a mention is not the one that it has in the table.
    ``entries`` are the letters that leave as this one, in order and this one among them; empty
    where it leaves by itself. ``held_by`` is what the letter has waited for; None: for nothing.
    """

    claim: Claim
    message_id: str
    event: Event
    change_list: ChangeList
    actor: Person
    recipient: Person
    to_email: str
    reason: Reason
    entries: tuple["Letter", ...] = ()
    held_by: Hold | None = None

    @property
    def digest(self) -> Hold | None:
        """What kind of digest the letter is; None: it is about one change list, and stands in its thread."""
        if self.held_by is None:
            return None
        links = {one.change_list.link for one in self.entries}
        return self.held_by if self.held_by.is_digest or len(links) > 1 else None

    @property
    def comment(self) -> Mapping[str, Any]:
        """The comment of the event; empty for event types that carry none."""
        return self.event.part("comment")
