"""Everyone an event concerns, each with the strongest reason that put them there."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from notify.domain.events import COMMENT_MENTIONED, ChangeList, Event


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

    ``event_type`` is the type under which the person is told, whose templates and choices hold;
    None means the event's own.
    """

    username: str
    reason: Reason
    event_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """
    Who has to do with a change list when an event happens on it.

    Args:
        subscribers: Who has asked for its letters.
        participants: Who has said something on it before, and asked for the letters of such change lists.
        mentioned: Whom the actor's words mention, of those who are known.
    """

    change_list: ChangeList
    subscribers: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()


def strongest(people: Iterable[Concerned]) -> tuple[Concerned, ...]:
    """One entry per person, with the stronger reason where somebody appears in two roles."""
    found: dict[str, Concerned] = {}
    for person in sorted(people, key=lambda one: STRENGTH.index(one.reason)):
        found.setdefault(person.username, person)
    return tuple(found.values())


def around(circle: Circle) -> tuple[Concerned, ...]:
    """Everyone who has to do with the change list, each once."""
    change_list = circle.change_list
    return strongest(
        [
            *([Concerned(change_list.author, Reason.AUTHOR)] if change_list.author else []),
            *(Concerned(username, Reason.REVIEWER) for username in change_list.reviewers),
            *(Concerned(username, Reason.SUBSCRIBER) for username in circle.subscribers),
            *(Concerned(username, Reason.PARTICIPANT) for username in circle.participants),
        ]
    )


def around_and_mentioned(circle: Circle) -> tuple[Concerned, ...]:
    """Everyone who has to do with the change list, and whom the actor's words mention, each once."""
    mentioned = (Concerned(name, Reason.MENTIONED, COMMENT_MENTIONED) for name in circle.mentioned)
    return strongest([*around(circle), *mentioned])


def requested(event: Event) -> tuple[Concerned, ...]:
    """The people whose review the event asks for, each once."""
    return strongest(Concerned(name, Reason.REQUESTED) for name in event.part("request").get("reviewers", ()))
