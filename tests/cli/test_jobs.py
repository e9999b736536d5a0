"""Acting on one or many emails: what is selected, what is confirmed, what is reported."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from notify.channels.links import SignedLinks
from notify.cli.job_actions import NoJobsSelected, NoSuchJob
from notify.delivery.bulk_actions import PAGE
from notify.store.database import Database
from notify.store.outbox import jobs
from notify.store.tables.emails import email_jobs
from tests.cli.conftest import Notify
from tests.support import rows
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay

MORE_THAN_TWO_PAGES = 2 * PAGE + 1
MANY_DEAD = """
    WITH dead AS (
        INSERT INTO notify.email_jobs (username, to_email, message_id, status, finished_at, outcome_reason)
        SELECT 'person-' || n, 'person@example.com', n || '@review.example', 'dead', now(), 'refused'
        FROM generate_series(1, :count) AS n RETURNING id, username
    )
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
    SELECT :event_id, username, 'cl.comment.created', 'reviewer', 'told', 'default', id FROM dead
"""
row = email_jobs.c


@pytest.fixture
def emails(database: Database) -> dict[str, int]:
    """Three dead emails with different reasons, one pending and one sent; ids by name."""
    named: dict[str, dict[str, Any]] = {
        "template": {**rows.ended("dead"), "outcome_reason": "template_error", "created_at": rows.ago(hours=3)},
        "refused": {
            **rows.ended("dead"),
            "outcome_reason": "refused",
            "last_code": 554,
            "created_at": rows.ago(hours=2),
        },
        "poison": {**rows.ended("dead"), "outcome_reason": "poison", "created_at": rows.ago(hours=1)},
        "waits": {"due_at": rows.ago(hours=-1)},
        "sent": rows.ended("sent"),
    }
    with database.begin() as connection:
        return {name: rows.job(connection, username=name, **columns) for name, columns in named.items()}


def statuses(database: Database) -> dict[str, str]:
    """Each email's status, by its person."""
    with database.begin() as connection:
        return {one.username: one.status for one in connection.execute(select(row.username, row.status))}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name, status in after.items() if before[name] != status}


@pytest.mark.usefixtures("emails")
@pytest.mark.parametrize(
    ("filters", "retried"),
    [
        (["--status", "dead"], {"template", "refused", "poison"}),
        (["--reason", "template_error"], {"template"}),
        (["--code", "554"], {"refused"}),
        (["--username", "poison"], {"poison"}),
        (["--status", "dead", "--username", "sent"], set()),
        (["--status", "dead", "--address", "nobody@example.com"], set()),
    ],
)
def test_filters_select_emails(notify: Notify, database: Database, filters: list[str], retried: set[str]) -> None:
    before = statuses(database)

    said = notify("jobs", "retry", *filters, "--yes", "--json")

    assert said.code == 0
    assert changed(before, statuses(database)) == retried
    assert said.json["retried"] == len(retried)


def test_a_time_range_selects_emails(notify: Notify, database: Database, emails: dict[str, int]) -> None:
    before = statuses(database)
    with database.begin() as connection:
        refused, poison = (jobs.show(connection, emails[name]) for name in ("refused", "poison"))
    assert refused is not None
    assert poison is not None
    since, until = refused.created_at.isoformat(), poison.created_at.replace(tzinfo=None).isoformat()

    notify("jobs", "retry", "--after", since, "--before", until)

    assert changed(before, statuses(database)) == {"refused"}


def test_a_dry_run_counts_and_lists_the_emails_and_changes_nothing(
    notify: Notify, database: Database, emails: dict[str, int]
) -> None:
    before = statuses(database)

    said = notify("jobs", "replay", "--after", "2020-01-01", "--dry-run", "--json").json
    shown = notify("jobs", "replay", str(emails["refused"]), "--dry-run")

    assert (said["matched"], said["allowed"]) == (5, 4)
    assert [one["id"] for one in said["first"]] == [emails[name] for name in ("sent", "poison", "refused", "template")]
    assert (shown.code, "1 of 1" in shown.output, "554" in shown.output) == (0, True, True)
    assert statuses(database) == before


def test_a_dry_run_lists_at_most_ten(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        newest = [rows.job(connection) for _ in range(12)]

    said = notify("jobs", "cancel", "--status", "pending", "--dry-run", "--json").json

    assert said["allowed"] == 12
    assert [one["id"] for one in said["first"]] == newest[:1:-1]


@pytest.mark.parametrize(("answer", "cancelled"), [("n\n", 0), ("", 0), ("y\n", 2)])
def test_acting_on_more_than_one_email_asks_for_confirmation(
    notify: Notify, database: Database, answer: str, cancelled: int
) -> None:
    with database.begin() as connection:
        for username in ("ann", "bob"):
            rows.job(connection, username=username)

    notify("jobs", "cancel", "--status", "pending", "--json", stdin=answer)

    assert Counter(statuses(database).values())["cancelled"] == cancelled


@pytest.mark.usefixtures("emails")
def test_acting_on_a_single_email_asks_nothing(notify: Notify) -> None:
    said = notify("jobs", "cancel", "--username", "waits", "--json").json
    assert (said["matched"], said["cancelled"]) == (1, 1)


@pytest.mark.usefixtures("emails")
@pytest.mark.parametrize("action", ["retry", "cancel", "replay"])
def test_acting_without_a_filter_is_refused(notify: Notify, database: Database, action: str) -> None:
    before = statuses(database)

    assert isinstance(notify("jobs", action, "--yes").error, NoJobsSelected)
    assert statuses(database) == before


def test_several_ids_are_accepted_and_an_unknown_one_stops_all(
    notify: Notify, database: Database, emails: dict[str, int]
) -> None:
    before = statuses(database)
    ids = [str(emails[name]) for name in ("template", "poison", "sent")]

    assert isinstance(notify("jobs", "retry", *ids, "999999", "--yes").error, NoSuchJob)
    assert statuses(database) == before

    said = notify("jobs", "retry", *ids, "--yes", "--json").json
    assert (said["matched"], said["retried"]) == (3, 2)
    assert said["ids"] == [emails["template"], emails["poison"]]
    assert changed(before, statuses(database)) == {"template", "poison"}


def test_each_email_is_replayed_once_however_many_there_are(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **rows.ended("done"))
        connection.execute(text(MANY_DEAD), {"count": MORE_THAN_TWO_PAGES, "event_id": event_id})

    said = notify("jobs", "replay", "--reason", "refused", "--yes", "--json")

    assert (said.json["matched"], said.json["replayed"]) == (MORE_THAN_TWO_PAGES, MORE_THAN_TWO_PAGES)
    with database.begin() as connection:
        replays = connection.execute(select(row.id, row.replay_of).where(row.replay_of.is_not(None)))
        written, originals = zip(*replays, strict=True)
    assert sorted(said.json["ids"]) == sorted(written)
    assert len(originals) == len(set(originals)) == MORE_THAN_TWO_PAGES


def test_a_list_accepts_the_filters_and_continues_below_an_id(notify: Notify, emails: dict[str, int]) -> None:
    dead = [emails[name] for name in ("poison", "refused", "template")]

    assert [one["id"] for one in notify("jobs", "list", "--status", "dead", "--json").json] == dead
    below = notify("jobs", "list", "--status", "dead", "--below", str(dead[0]), "--json").json
    assert [one["id"] for one in below] == dead[1:]
    assert [one["id"] for one in notify("jobs", "list", "--code", "554", "--json").json] == [emails["refused"]]


def test_an_email_is_found_by_the_relays_or_the_mailboxs_id(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        taken = {**rows.ended("sent"), "relay_reply": "2.0.0 Ok: queued as 4XyZ", "message_id": "cl.1@review.example"}
        job = rows.job(connection, **taken)
        rows.job(connection)

    for question in (["--queue-id", "4XyZ"], ["--message-id", "<cl.1@review.example>"]):
        assert [one["id"] for one in notify("jobs", "list", *question, "--json").json] == [job]


def test_an_email_is_shown_with_attempts_notifications_rules_and_text(notify: Notify, database: Database) -> None:
    with ScriptedRelay(reply_by_recipient={"ann@example.com": "450 4.2.0 busy"}) as relay:
        harness = WorkerHarness(database, relay.url)
        (job,) = [one for one in harness.pending_emails("ann") if one.username == "ann"]
        harness.drain()

    said = notify("jobs", "show", str(job.id), "--email", "--json").json
    (attempt,) = said["attempts"]
    assert (attempt["phase"], attempt["code"], attempt["relay"]) == ("rcpt", 450, relay.url.removeprefix("smtp://"))
    assert 0 <= attempt["took_ms"] < 60_000
    (told,) = said["notifications"]
    assert (told["event_key"], told["trace"][-1]["rule"], told["job_id"]) == ("k1", "default", job.id)
    assert "The jitter comes after the cap." in said["email"]["text"]
    theirs = SignedLinks(secrets=["k" * 32], public_url="https://notify.example.com").preferences("ann")
    assert theirs.rpartition("/")[0] in said["email"]["text"]
    assert theirs not in said["email"]["text"]
    shown = notify("jobs", "show", str(job.id), "--email").output
    assert all(words in shown for words in ("450", "default", "Subject: ", "The jitter comes after the cap."))
    assert "Subject: " not in notify("jobs", "show", str(job.id)).output


def test_a_bundled_event_says_when_it_leaves_and_with_which_job(notify: Notify, database: Database) -> None:
    harness = WorkerHarness(database, relay_url=None, changes={"bundle_seconds": 3600})
    for key in ("k1", "k2", "k3"):
        harness.pending_emails("ann", key=key)
        harness.execute("UPDATE notify.work_items SET attempt = 1 WHERE id = (SELECT min(id) FROM notify.email_jobs)")

    later, first = notify("jobs", "list", "--username", "ann", "--json").json
    assert (later["notification_count"], first["notification_count"]) == (2, 1)
    said = {one["event_key"]: one for one in notify("jobs", "show", str(later["id"]), "--json").json["notifications"]}
    due_at = datetime.fromisoformat(later["due_at"])
    assert due_at == datetime.fromisoformat(first["due_at"]) + timedelta(hours=1)
    for key in ("k2", "k3"):
        assert (said[key]["due_at"], said[key]["job_id"]) == (later["due_at"], later["id"])
        assert said[key]["trace"][-1] == {
            "rule": "schedule",
            "found": f"leaves at {due_at:%Y-%m-%d %H:%M} UTC, in job {later['id']}",
        }


def test_a_bundle_is_listed_once_and_shown_with_the_rules_for_each_event(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        job = rows.job(connection, event_id=rows.event(connection, **rows.ended("done"), key="first"))
        second = rows.event(connection, **rows.ended("done"), key="second")
        rows.notification(connection, event_id=second, email_job_id=job, reason="reviewer")

    (listed,) = notify("jobs", "list", "--event", "second", "--json").json
    assert (listed["id"], listed["event_key"], listed["notification_count"]) == (job, "first", 2)
    told = notify("jobs", "show", str(job), "--json").json["notifications"]
    assert [(one["event_key"], one["reason"]) for one in told] == [("first", "author"), ("second", "reviewer")]
    assert [one["trace"][0]["found"] for one in told] == ["is concerned as author", "is concerned as reviewer"]
    shown = notify("jobs", "show", str(job)).output
    assert all(f"key {key}" in shown for key in ("first", "second"))


def test_a_sent_email_is_shown_with_its_relay_and_duration(notify: Notify, database: Database) -> None:
    with ScriptedRelay() as relay:
        harness = WorkerHarness(database, relay.url)
        (job,) = [one for one in harness.pending_emails("ann") if one.username == "ann"]
        harness.drain()

    said = notify("jobs", "show", str(job.id), "--json").json
    assert said["relay"] == relay.url.removeprefix("smtp://")
    assert 0 <= said["sent_in_ms"] < 60_000
    assert "sent in ms" in notify("jobs", "show", str(job.id)).output


@pytest.mark.usefixtures("emails")
def test_an_invalid_instant_is_refused(notify: Notify, database: Database) -> None:
    before = statuses(database)

    assert notify("jobs", "retry", "--after", "yesterday", "--yes").code == 2
    assert statuses(database) == before
