"""Everyone an event concerns, each once."""

from itertools import combinations
from typing import Any

import pytest

from notify.domain.audience import (
    STRENGTH,
    AudienceMember,
    InvolvedPeople,
    Reason,
    everyone_involved,
    requested_reviewers,
)
from notify.domain.events import COMMENT_MENTIONED, ChangeList

REASONS = [reason for reason in STRENGTH if reason is not Reason.REQUESTED]


def involved(
    author: str | None = None, reviewers: tuple[str, ...] = (), owners: tuple[str, ...] = (), **others: Any
) -> InvolvedPeople:
    """The people involved in CL-1."""
    change_list = ChangeList(link="CL-1", author=author, reviewers=reviewers, owners=owners)
    return InvolvedPeople(change_list=change_list, **others)


def as_alice(reason: Reason) -> dict[str, Any]:
    """Alice is involved in CL-1 for this reason."""
    if reason is Reason.AUTHOR:
        return {"author": "alice"}
    return {"mentioned" if reason is Reason.MENTIONED else f"{reason}s": ("alice",)}


@pytest.mark.parametrize(
    ("author", "reviewers", "expected"),
    [
        (None, (), {}),
        ("alice", (), {"alice": Reason.AUTHOR}),
        (None, ("bob",), {"bob": Reason.REVIEWER}),
        ("alice", ("bob", "carol"), {"alice": Reason.AUTHOR, "bob": Reason.REVIEWER, "carol": Reason.REVIEWER}),
        ("alice", ("bob", "alice"), {"alice": Reason.AUTHOR, "bob": Reason.REVIEWER}),
        ("alice", ("bob", "bob"), {"alice": Reason.AUTHOR, "bob": Reason.REVIEWER}),
    ],
)
def test_author_and_reviewers_are_concerned_once_each_for_the_stronger_reason(
    author: str | None, reviewers: tuple[str, ...], expected: dict[str, Reason]
) -> None:
    found = everyone_involved(involved(author, reviewers))
    assert {one.username: one.reason for one in found} == expected
    assert len(found) == len(expected)


def test_subscribers_and_participants_are_concerned_too_unless_for_a_stronger_reason() -> None:
    asked = involved("alice", ("bob",), subscribers=("alice", "erin"), participants=("bob", "erin", "frank"))
    assert {one.username: one.reason for one in everyone_involved(asked)} == {
        "alice": Reason.AUTHOR,
        "bob": Reason.REVIEWER,
        "erin": Reason.SUBSCRIBER,
        "frank": Reason.PARTICIPANT,
    }


@pytest.mark.parametrize(("stronger", "weaker"), list(combinations(REASONS, 2)))
def test_the_stronger_reason_wins(stronger: Reason, weaker: Reason) -> None:
    found = everyone_involved(involved(**as_alice(stronger), **as_alice(weaker)))
    assert [(one.username, one.reason) for one in found] == [("alice", stronger)]


def test_a_mentioned_person_is_concerned_as_mentioned_and_the_author_as_the_author() -> None:
    assert everyone_involved(involved("alice", ("bob",), mentioned=("bob", "carol", "alice"))) == (
        AudienceMember("alice", Reason.AUTHOR),
        AudienceMember("bob", Reason.MENTIONED, COMMENT_MENTIONED),
        AudienceMember("carol", Reason.MENTIONED, COMMENT_MENTIONED),
    )


def test_a_review_request_concerns_only_those_who_are_asked_once_each() -> None:
    asked = involved("alice", ("carol",), requested=("bob", "erin", "bob"))
    assert requested_reviewers(asked) == tuple(AudienceMember(name, Reason.REQUESTED) for name in ("bob", "erin"))
