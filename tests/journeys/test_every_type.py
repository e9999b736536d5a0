"""One event of each type in, and the emails on the wire: who got one, under which type, and why."""

from typing import Any

import pytest

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay
from tests.support.wire import header

CL = {"link": "CL-1", "title": "Cap the retry", "author": "alice", "reviewers": ["bob"]}
COMMENT = {"id": "1", "body": "@carol, @bob: see `@erin`."}


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker, and five people with addresses."""
    with database.begin() as connection:
        for name in ("alice", "bob", "carol", "dana", "erin"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return WorkerHarness(database, relay.url)


def tell(harness: WorkerHarness, event_type: str, **parts: Any) -> None:
    with harness.database.begin() as connection:
        receive(connection, [parse({"key": "k1", "type": event_type, "actor": "dana", "cl": CL, **parts})])
    harness.fan_out()


def arrived(relay: ScriptedRelay) -> dict[str, tuple[str, str]]:
    """The emails by recipient: the type and the reason in their headers."""
    emails = relay.emails
    assert len({one.recipient for one in emails}) == len(emails)
    return {
        one.recipient.partition("@")[0]: (
            header(one.content, "X-Notify-Event"),
            header(one.content, "X-Notify-Reason"),
        )
        for one in emails
    }


def test_a_comment_reaches_each_mentioned_person_under_the_type_that_applies_to_them(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    tell(harness, "cl.comment.created", comment=COMMENT)
    harness.drain()
    assert arrived(relay) == {
        "alice": ("cl.comment.created", "author"),
        "bob": ("cl.comment.mentioned", "mentioned"),
        "carol": ("cl.comment.mentioned", "mentioned"),
    }


@pytest.mark.parametrize(
    ("event_type", "parts", "told"),
    [
        ("cl.review.submitted", {"review": {"id": "1", "state": "approved"}}, {"alice": "author", "bob": "reviewer"}),
        ("cl.review.requested", {"request": {"reviewers": ["erin"]}}, {"erin": "requested"}),
        ("cl.merged", {"change": {"summary": "Done."}}, {"alice": "author", "bob": "reviewer"}),
    ],
)
def test_each_type_reaches_the_people_it_concerns(
    harness: WorkerHarness, relay: ScriptedRelay, event_type: str, parts: dict[str, Any], told: dict[str, str]
) -> None:
    tell(harness, event_type, **parts)
    harness.drain()
    assert arrived(relay) == {name: (event_type, reason) for name, reason in told.items()}


def test_the_recheck_asks_about_the_mention_and_not_about_the_comment(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    tell(harness, "cl.comment.created", comment=COMMENT)
    with harness.database.begin() as connection:
        preferences.set_preference(connection, "bob", "cl.comment.mentioned", enabled=False)
        preferences.set_preference(connection, "carol", "cl.comment.created", enabled=False)
    harness.drain()
    assert arrived(relay).keys() == {"alice", "carol"}
    (bob,) = [job for job in harness.jobs() if job.username == "bob"]
    assert (bob.status, bob.outcome_reason) == ("skipped", "muted_event")


def test_ending_a_subscription_stops_emails_that_are_still_pending(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    with harness.database.begin() as connection:
        preferences.subscribe(connection, "carol", "CL-1")
        preferences.subscribe(connection, "erin", "CL-1")
    tell(harness, "cl.merged")
    with harness.database.begin() as connection:
        preferences.unsubscribe(connection, "carol", "CL-1")
    harness.drain()
    assert arrived(relay).keys() == {"alice", "bob", "erin"}
    (carol,) = [job for job in harness.jobs() if job.username == "carol"]
    assert (carol.status, carol.outcome_reason) == ("skipped", "unsubscribed")
