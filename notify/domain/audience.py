"""Everyone an event concerns, each with the strongest reason that put them there."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from notify.domain.events import ChangeList


class Reason(StrEnum):
    """Why a person is in the audience, strongest first."""

    AUTHOR = "author"
    REVIEWER = "reviewer"


STRENGTH = tuple(Reason)


@dataclass(frozen=True, slots=True)
class Concerned:
    """One person an event concerns."""

    username: str
    reason: Reason


def strongest(people: Iterable[Concerned]) -> tuple[Concerned, ...]:
    """One entry per person, with the stronger reason where somebody appears in two roles."""
    found: dict[str, Concerned] = {}
    for person in sorted(people, key=lambda one: STRENGTH.index(one.reason)):
        found.setdefault(person.username, person)
    return tuple(found.values())


def author_and_reviewers(change_list: ChangeList) -> tuple[Concerned, ...]:
    """The author and every reviewer of a change list, each once."""
    author = [Concerned(change_list.author, Reason.AUTHOR)] if change_list.author else []
    reviewers = [Concerned(username, Reason.REVIEWER) for username in change_list.reviewers]
    return strongest([*author, *reviewers])
