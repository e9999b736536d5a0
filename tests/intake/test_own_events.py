"""What notify itself finds out is told to operators, about topics that are no change lists."""

from collections.abc import Sequence
from typing import Any

import pytest

import notify
from notify.domain.errors import MalformedEvent
from notify.domain.events import FOR_OPERATORS, ChangeList
from notify.domain.own_events import OwnEvent, status_dead
from notify.domain.preferences import Person
from notify.intake.own_events import emit_own
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.harness import WorkerHarness
from tests.support.messages import parsed, text_of
from tests.support.smtp import ScriptedRelay

EVENT = {"actor": "dana", "cl": {"link": "forge:github", "author": "alice"}}
JOBS = (
    "SELECT status, lane FROM notify.email_jobs AS job LEFT JOIN notify.work_items AS item USING (id) ORDER BY job.id"
)
PEOPLE = "SELECT username, reason, decision, why FROM notify.notifications ORDER BY username"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """Olga operates notify, and nobody-yet is named as well."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="olga", email="olga@example.com"))
    return WorkerHarness(database, relay.url, {"operators": "olga nobody-yet"})


def dead(target: int, version: int = 1, *, repository: str = "acme/app", context: str = "ci/unit") -> OwnEvent:
    return status_dead(
        target,
        version,
        forge="github",
        repository=repository,
        sha="2f1c9e0b7a4d58c6e3f0912b4d6a8c7e5f3b1a09",
        context=context,
        reason="forbidden",
        words="Resource not accessible\n by integration",
    )


def emitted(harness: WorkerHarness, *events: OwnEvent) -> int:
    with harness.database.begin() as connection:
        stored = emit_own(connection, events)
    harness.fan_out()
    return stored


def texts(relay: ScriptedRelay) -> Sequence[str]:
    return [text_of(parsed(one.content)) for one in relay.emails]


@pytest.mark.parametrize("event_type", sorted(FOR_OPERATORS))
def test_no_application_can_emit_what_only_notify_finds(database: Database, event_type: str) -> None:
    with database.begin() as connection, pytest.raises(MalformedEvent, match="only notify itself emits") as refused:
        notify.emit(connection, {**EVENT, "type": event_type})
    assert "type" in str(refused.value)


def test_operators_are_told_at_once_and_one_without_an_address_is_skipped(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    assert emitted(harness, dead(1)) == 1
    assert [tuple(row) for row in harness.execute(PEOPLE)] == [
        ("nobody-yet", "operator", "skipped", "no_address"),
        ("olga", "operator", "told", "system_required"),
    ]
    harness.drain()
    (text,) = texts(relay)
    assert text.startswith("The status ci/unit of acme/app@2f1c9e0b7a4d cannot be shown:")
    assert "Resource not accessible by integration" in text


def test_a_version_of_a_target_is_told_once_however_often_it_dies(harness: WorkerHarness) -> None:
    assert emitted(harness, dead(1), dead(1)) == 1
    assert emitted(harness, dead(1)) == 0
    assert emitted(harness, dead(1, 2)) == 1


def test_a_forge_that_refuses_every_status_of_a_repository_makes_two_emails_not_a_hundred(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    """The first leaves at once; what follows is one more, urgent, when its window ends."""
    for number in range(20):
        emitted(harness, *(dead(5 * number + one, context=f"ci/{number}-{one}") for one in range(5)))
    emitted(harness, dead(900, repository="acme/other"))
    harness.drain()
    assert [tuple(row) for row in harness.execute(JOBS)] == [("sent", None), ("pending", 0), ("sent", None)]
    harness.execute("UPDATE notify.work_items SET due_at = now()")
    harness.drain()
    *_, bundle = texts(relay)
    assert "99 updates on github/acme/app" in bundle
    assert bundle.count("cannot be shown") == 99
    assert len(relay.emails) == 3


def test_without_operators_the_event_ends_and_tells_nobody(database: Database) -> None:
    harness = WorkerHarness(database, None)
    emitted(harness, dead(1))
    assert [tuple(row) for row in harness.execute("SELECT status FROM notify.events")] == [("done",)]
    assert harness.execute(PEOPLE) == []


def test_a_change_list_of_the_same_name_has_nothing_to_do_with_it(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    event = dead(1)
    about: dict[str, Any] = {"link": event.topic, "author": "olga", "title": "A title"}
    with harness.database.begin() as connection:
        directory.put_change_list(connection, ChangeList(**about))
        notify.emit(connection, {"type": "cl.merged", "actor": "dana", "cl": about})
    emitted(harness, event)
    harness.drain()
    merged, ours = sorted((parsed(one.content) for one in relay.emails), key=lambda one: str(one["X-Notify-Event"]))
    assert merged["X-Notify-CL"] == ours["X-Notify-Topic"] == event.topic
    assert merged["References"] != ours["References"]
    assert merged["Thread-Index"] != ours["Thread-Index"]
    assert "A title" in text_of(merged, "html")
    assert "A title" not in text_of(ours, "html")
