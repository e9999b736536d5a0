"""Everything that is stored about a person, exported or erased."""

from re import search
from typing import Any

import pytest
from sqlalchemy import select

from notify.domain.errors import NotifyError
from notify.domain.events import HEAD_BROKEN
from notify.domain.heads import Request, RequestId
from notify.domain.preferences import Person
from notify.domain.queue_events import Suspect, queue_event
from notify.intake.own_events import emit_own
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory.directory import put_person
from notify.store.tables import metadata
from tests.cli.conftest import Notify
from tests.support.harness import WorkerHarness, comment
from tests.support.queues import queue_settings
from tests.support.smtp import ScriptedRelay

WORDS = "only ann says so"
CHOICES = """
    INSERT INTO notify.user_notification_settings (username, email) VALUES ('ann', 'ann@home.example');
    INSERT INTO notify.user_notification_preferences VALUES ('ann', 'cl.merged', false);
    INSERT INTO notify.topic_preferences (topic, username, muted) VALUES ('CL-9', 'ann', true)
"""

OF_BOB = [
    "SELECT * FROM notify.email_jobs WHERE username = 'bob' ORDER BY id",
    "SELECT * FROM notify.notifications WHERE username = 'bob' ORDER BY id",
]
DECIDED = """
    SELECT decision, why, count(*), count(DISTINCT email_job_id) FROM notify.notifications GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """Ann got an email, was refused one, waits for one, commented and has preferences; bob is told too."""
    made = WorkerHarness(database, relay.url)
    made.pending_emails("ann", "bob", key="first")
    made.drain()
    relay.reply_by_recipient["ann@example.com"] = "554 5.6.0 no mail for ann@example.com"
    made.pending_emails("ann", "bob", key="second")
    made.drain()
    emit(made, comment(key="own", actor="ann", reviewers=("ann", "bob"), body=WORDS))
    made.drain()
    made.pending_emails("ann", key="third")
    for statement in CHOICES.split(";"):
        made.execute(statement)
    return made


def emit(harness: WorkerHarness, event: dict[str, Any]) -> None:
    with harness.database.begin() as connection:
        receive(connection, [parse(event)])
    harness.fan_out()


def everything(database: Database) -> str:
    """The content of all tables, as text."""
    with database.begin() as connection:
        rows = [row for table in metadata.tables.values() for row in connection.execute(select(table))]
        return "\n".join(str(tuple(row)) for row in rows)


@pytest.mark.usefixtures("harness")
def test_an_export_contains_everything_stored_about_a_person(notify: Notify) -> None:
    given = notify("people", "export", "ann", "--json").json

    assert {one["to_email"] for one in given["email_jobs"]} == {"ann@example.com"}
    assert {(one["username"], one["decision"]) for one in given["notifications"]} == {
        ("ann", "told"),
        ("ann", "skipped"),
    }
    assert [one["payload"]["comment"]["body"] for one in given["events"]] == [WORDS]
    assert [one["text"] for one in given["email_attempts"]] != []
    for table in ("people", "user_notification_settings", "user_notification_preferences", "topic_preferences"):
        assert [one["username"] for one in given[table]] == ["ann"], table
    assert "bob@example.com" not in str(given)


def test_erasure_leaves_nothing_of_a_person_but_the_counts(
    notify: Notify, database: Database, harness: WorkerHarness
) -> None:
    before = harness.execute("SELECT status, count(*) FROM notify.email_jobs GROUP BY 1 ORDER BY 1")
    counted = harness.execute("SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY 1 ORDER BY 1")
    others = [harness.execute(statement) for statement in OF_BOB]
    decided = harness.execute(DECIDED)
    assert search(r"\bann\b", everything(database))

    said = notify("people", "erase", "ann", "--yes", "--json")

    assert (said.code, said.json["left"]) == (0, {})
    left = everything(database)
    assert search(r"\bann\b", left) is None
    assert WORDS not in left
    after = dict(harness.execute("SELECT status, count(*) FROM notify.email_jobs GROUP BY 1 ORDER BY 1"))
    waiting = after.pop("cancelled")
    assert after == {status: count for status, count in before if status != "pending"}
    assert waiting == dict(before)["pending"]
    assert harness.execute("SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY 1 ORDER BY 1") == counted
    assert harness.execute(DECIDED) == decided
    assert [harness.execute(statement) for statement in OF_BOB] == others


def test_text_that_others_wait_for_is_kept_until_they_have_it(
    notify: Notify, database: Database, harness: WorkerHarness
) -> None:
    emit(harness, comment(key="fresh", actor="ann", reviewers=("bob",), body=WORDS))

    first = notify("people", "erase", "ann", "--yes", "--json")
    assert (first.code, first.json["left"]) == (1, {"events": 1})
    harness.drain()
    assert notify("people", "erase", "ann", "--yes", "--json").json["left"] == {}
    assert WORDS not in everything(database)


def test_a_broken_head_does_not_name_an_erased_author(notify: Notify, database: Database) -> None:
    commit = Suspect(sha="0" * 40, title="Retry", name="ann", username="ann")
    request = Request(id=RequestId("main", 1), uri="git://host/repository/refs%2Fheads%2Fmain/" + "0" * 40)
    with database.begin() as connection:
        put_person(connection, Person(username="ann", email="ann@example.com"))
        emit_own(connection, [queue_event(HEAD_BROKEN, queue_settings("main"), request, suspects=[commit])])
    WorkerHarness(database, "smtp://127.0.0.1:1").fan_out()
    exported = notify("people", "export", "ann", "--json").json["events"]
    assert [one["payload"]["queue"]["authors"] for one in exported] == [{"ann": ["0" * 40]}]

    assert notify("people", "erase", "ann", "--yes", "--json").json["left"] == {}
    assert search(r"\bann\b", everything(database)) is None


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(("arguments", "answer"), [(["--dry-run"], None), ([], "n\n")], ids=["dry run", "no"])
def test_nobody_is_erased_by_mistake(
    notify: Notify, database: Database, arguments: list[str], answer: str | None
) -> None:
    before = everything(database)
    notify("people", "erase", "ann", *arguments, stdin=answer)
    assert everything(database) == before


@pytest.mark.parametrize("action", ["export", "erase"])
def test_a_person_without_stored_data_cannot_be_exported_or_erased(notify: Notify, action: str) -> None:
    assert isinstance(notify("people", action, "nobody").error, NotifyError)
