"""Everyone an event concerns, each once."""

import pytest

from notify.domain.audience import Concerned, Reason, author_and_reviewers, strongest
from notify.domain.events import ChangeList


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
    found = author_and_reviewers(ChangeList(link="CL-1", author=author, reviewers=reviewers))
    assert {one.username: one.reason for one in found} == expected
    assert len(found) == len(expected)


def test_the_stronger_reason_wins_whichever_comes_first() -> None:
    author, reviewer = Concerned("alice", Reason.AUTHOR), Concerned("alice", Reason.REVIEWER)
    assert strongest([author, reviewer]) == strongest([reviewer, author]) == (author,)
