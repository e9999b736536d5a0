"""Everyone an event concerns, each with their strongest reason."""

from dataclasses import dataclass
from enum import StrEnum

from notify.domain.events import COMMENT_MENTIONED, ChangeList


class Reason(StrEnum):
    """Why a person is in the audience, strongest first."""

    AUTHOR = "author"
    MENTIONED = "mentioned"
    REQUESTED = "requested"
    REVIEWER = "reviewer"
    OWNER = "owner"
    SUBSCRIBER = "subscriber"
    PARTICIPANT = "participant"
    OPERATOR = "operator"


STRENGTH = tuple(Reason)


@dataclass(frozen=True, slots=True)
class AudienceMember:
    """
    One person in the audience of an event.

    ``event_type`` is the type whose templates and preferences apply; None: the event's own.
    """

    username: str
    reason: Reason
    event_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvolvedPeople:
    """
    The people related to an event and its change list.

    Args:
        subscribers: People subscribed to the change list.
        participants: People who commented earlier and want emails about change lists they take part in.
        mentioned: Known people whom the actor's text mentions.
        requested: People whose review the event requests.
        operators: People who operate notify.
        suspects: People whose commits are in the broken head that the event is about.
        told_broken: People who were told that the queue was broken which has recovered.
    """

    change_list: ChangeList
    subscribers: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    told_broken: tuple[str, ...] = ()


def everyone_involved(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """Everyone related to the change list and everyone mentioned, each once."""
    author = involved.change_list.author
    return _each_once(
        *([AudienceMember(author, Reason.AUTHOR)] if author else []),
        *(AudienceMember(name, Reason.MENTIONED, COMMENT_MENTIONED) for name in involved.mentioned),
        *(AudienceMember(name, Reason.REVIEWER) for name in involved.change_list.reviewers),
        *(AudienceMember(name, Reason.OWNER) for name in involved.change_list.owners),
        *(AudienceMember(name, Reason.SUBSCRIBER) for name in involved.subscribers),
        *(AudienceMember(name, Reason.PARTICIPANT) for name in involved.participants),
    )


def requested_reviewers(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """The people whose review the event requests, each once."""
    return _each_once(*(AudienceMember(name, Reason.REQUESTED) for name in involved.requested))


def people_of_queue(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """Those whose commits are in it or who were told that it was broken, and the queue's subscribers, each once."""
    return _each_once(
        *(AudienceMember(name, Reason.AUTHOR) for name in involved.suspects),
        *(AudienceMember(name, Reason.SUBSCRIBER) for name in involved.subscribers),
        *(AudienceMember(name, Reason.AUTHOR) for name in involved.told_broken),
    )


def operators(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """The people who operate notify, each once."""
    return _each_once(*(AudienceMember(name, Reason.OPERATOR) for name in involved.operators))


def _each_once(*people: AudienceMember) -> tuple[AudienceMember, ...]:
    """Each person with the first of their reasons, which come strongest first."""
    found: dict[str, AudienceMember] = {}
    for person in people:
        found.setdefault(person.username, person)
    return tuple(found.values())
