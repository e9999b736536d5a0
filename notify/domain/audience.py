"""Everyone an event concerns, each with the strongest reason that put them there."""

from dataclasses import dataclass
from enum import StrEnum

from notify.domain.events import COMMENT_MENTIONED, ChangeList


class Reason(StrEnum):
    """Why a person is in the audience, strongest first."""

    AUTHOR = "author"
    MENTIONED = "mentioned"
    REQUESTED = "requested"
    REVIEWER = "reviewer"
    SUBSCRIBER = "subscriber"
    PARTICIPANT = "participant"


STRENGTH = tuple(Reason)


@dataclass(frozen=True, slots=True)
class Concerned:
    """
    One person an event concerns.

    ``event_type`` is the type under which the person is told, whose templates and preferences count;
    None means the event's own.
    """

    username: str
    reason: Reason
    event_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Involved:
    """
    Who has to do with an event and its change list.

    Args:
        subscribers: Who has asked for emails about the change list.
        participants: Who has said something on it before, and has asked for emails about such change lists.
        mentioned: Whom the actor's words mention, of those who are known.
        requested: Whose review the event asks for.
    """

    change_list: ChangeList
    subscribers: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()


def everyone(involved: Involved) -> tuple[Concerned, ...]:
    """Everyone who has to do with the change list, and whom the actor's words mention, each once."""
    author = involved.change_list.author
    return _each_once(
        *([Concerned(author, Reason.AUTHOR)] if author else []),
        *(Concerned(name, Reason.MENTIONED, COMMENT_MENTIONED) for name in involved.mentioned),
        *(Concerned(name, Reason.REVIEWER) for name in involved.change_list.reviewers),
        *(Concerned(name, Reason.SUBSCRIBER) for name in involved.subscribers),
        *(Concerned(name, Reason.PARTICIPANT) for name in involved.participants),
    )


def requested(involved: Involved) -> tuple[Concerned, ...]:
    """The people whose review the event asks for, each once."""
    return _each_once(*(Concerned(name, Reason.REQUESTED) for name in involved.requested))


def _each_once(*people: Concerned) -> tuple[Concerned, ...]:
    """Each person with their first reason; the reasons come strongest first."""
    found: dict[str, Concerned] = {}
    for person in people:
        found.setdefault(person.username, person)
    return tuple(found.values())
