"""Everyone an event concerns, each once."""

from datetime import UTC, datetime
from itertools import combinations, permutations
from typing import Any

import pytest

from notify.domain.audience import (
    Circle,
    Concerned,
    Reason,
    around,
    around_and_mentioned,
    requested,
    strongest,
)
from notify.domain.events import (
    COMMENT_CREATED,
    COMMENT_MENTIONED,
    REVIEW_REQUESTED,
    ChangeList,
    Event,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def circle(author: str | None = None, reviewers: tuple[str, ...] = (), **others: Any) -> Circle:
    """Those around CL-1."""
    return Circle(change_list=ChangeList(link="CL-1", author=author, reviewers=reviewers), **others)


def event(event_type: str, **payload: Any) -> Event:
    """Dana does it on CL-1."""
    return Event(id=1, key="k1", type=event_type, topic="CL-1", actor="dana", occurred_at=NOON, payload=payload)


def comment(body: str) -> Event:
    return event(COMMENT_CREATED, comment={"id": "1", "body": body})


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
def test_author_and_reviewers_are_concerned_each_once_for_the_stronger_reason(
    author: str | None, reviewers: tuple[str, ...], expected: dict[str, Reason]
) -> None:
    found = around(circle(author, reviewers))
    assert {one.username: one.reason for one in found} == expected
    assert len(found) == len(expected)


def test_who_subscribed_or_said_something_before_is_concerned_too_unless_for_a_stronger_reason() -> None:
    asked = circle("alice", ("bob",), subscribers=("alice", "erin"), participants=("bob", "erin", "frank"))
    assert {one.username: one.reason for one in around(asked)} == {
        "alice": Reason.AUTHOR,
        "bob": Reason.REVIEWER,
        "erin": Reason.SUBSCRIBER,
        "frank": Reason.PARTICIPANT,
    }


@pytest.mark.parametrize(("stronger", "weaker"), list(combinations(Reason, 2)))
def test_the_stronger_reason_wins_whichever_comes_first(stronger: Reason, weaker: Reason) -> None:
    strong, weak = Concerned("alice", stronger), Concerned("alice", weaker)
    assert strongest([strong, weak]) == strongest([weak, strong]) == (strong,)


def test_the_reasons_stand_in_their_order_whatever_the_order_of_the_people() -> None:
    people = [Concerned(f"person-{reason}", reason) for reason in Reason]
    assert {strongest(shuffled) for shuffled in permutations(people)} == {tuple(people)}


def test_who_is_mentioned_is_told_as_such_and_the_author_as_the_author() -> None:
    assert around_and_mentioned(circle("alice", ("bob",), mentioned=("bob", "carol", "alice"))) == (
        Concerned("alice", Reason.AUTHOR),
        Concerned("bob", Reason.MENTIONED, COMMENT_MENTIONED),
        Concerned("carol", Reason.MENTIONED, COMMENT_MENTIONED),
    )


def test_only_those_who_are_asked_are_told_of_a_request_each_once() -> None:
    asked = event(REVIEW_REQUESTED, request={"reviewers": ["bob", "erin", "bob"]})
    assert requested(asked) == (Concerned("bob", Reason.REQUESTED), Concerned("erin", Reason.REQUESTED))
