"""Everyone an event concerns, each with their strongest reason."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
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

    ``event_type`` is the type whose templates and preferences apply; None: the event's own. ``already_told``: an
    earlier event told them what this one would.
    """

    username: str
    reason: Reason
    event_type: str | None = None
    already_told: bool = False


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
        suspects: The people with commits in the broken head that the event is about, each with these commits.
        told_broken: People who were told since the queue was green last that it is broken, each with those of their
            commits that they were told of.
    """

    change_list: ChangeList
    subscribers: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    suspects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    told_broken: Mapping[str, AbstractSet[str]] = field(default_factory=dict)


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


def people_of_broken_head(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """
    Those whose commits are in it, and the queue's subscribers, each once.

    An author who was told of all their commits at an earlier head is already told, unless they subscribe.
    """
    told = involved.told_broken
    news = (name for name, shas in involved.suspects.items() if not told.get(name, frozenset()) >= set(shas))
    return _each_once(
        *(AudienceMember(name, Reason.AUTHOR) for name in news),
        *(AudienceMember(name, Reason.SUBSCRIBER) for name in involved.subscribers),
        *(AudienceMember(name, Reason.AUTHOR, already_told=True) for name in involved.suspects),
    )


def people_of_green_head(involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """The queue's subscribers, and those who were told that it was broken, each once."""
    return _each_once(
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
