"""Every attempt is in the log: it leads from the caller's trace to the relay's answer, and names nobody."""

import json
from dataclasses import replace
from datetime import datetime
from email import message_from_bytes
from select import PIPE_BUF
from typing import Any

import pytest

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.directory import directory
from tests.support.harness import WorkerHarness, comment
from tests.support.smtp import ScriptedRelay

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
BODY = "The words that were said."


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    return replace(harness, changes={**harness.changes, "log_format": "json"})


def traced_email(harness: WorkerHarness, username: str = "ann") -> None:
    with harness.database.begin() as connection:
        directory.put_person(connection, Person(username=username, email=f"{username}@example.com"))
        event = {**comment(reviewers=[username], body=BODY), "traceparent": PARENT}
        receive(connection, [parse(event)])
    harness.fan_out()


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[dict[str, Any]]]:
    """Everything that was said, and of it the lines about emails."""
    said = capsys.readouterr().err
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return said, [line for line in found if line["logger"] == "notify.emails"]


def test_an_email_that_is_sent_says_which_it_was_and_how_long_it_took_and_carries_its_trace(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.drain()

    said, (line,) = lines(capsys)
    (job,) = [job for job in harness.jobs() if job.to_email]
    assert line["relay"] == relay.url.removeprefix("smtp://")
    assert (line["event"], line["verdict"], line["level"]) == ("emails", "sent", "info")
    (email,) = line["emails"]
    assert 0 < email.pop("milliseconds") < 60_000
    assert email == {"job": job.id, "attempt": 1, "event_id": job.event_id, "trace": TRACE}
    (received,) = relay.emails
    assert message_from_bytes(received.content)["X-Notify-Trace"] == TRACE
    assert not any(word in said for word in ("ann", "@", BODY, "CL-1"))


def test_emails_that_were_sent_share_lines_that_a_pipe_takes_whole_and_each_is_found_by_its_id(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"person-{number}" for number in range(60)]
    relay.reply_by_recipient[f"{names[7]}@example.com"] = "450 4.2.0 busy"
    with harness.database.begin() as connection:
        for name in names:
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
        receive(connection, [parse({**comment(reviewers=names), "traceparent": PARENT})])
    harness.fan_out()
    harness.drain()

    said, found = lines(capsys)
    (late,) = [line for line in found if line["event"] == "email"]
    batches = [line["emails"] for line in found if line["event"] == "emails"]
    by_name = {job.username: job.id for job in harness.jobs() if job.to_email}
    assert late["job"] == by_name.pop(names[7])
    assert sorted(email["job"] for batch in batches for email in batch) == sorted(by_name.values())
    assert len(batches) < len(by_name) / 2
    assert all(len(line.encode()) < PIPE_BUF for line in said.splitlines())
    assert all(f'"job": {job},' in said for job in by_name.values())


def test_what_was_sent_is_in_the_log_before_it_is_recorded(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.drain()

    _, (line,) = lines(capsys)
    (job,) = [job for job in harness.jobs() if job.to_email]
    assert job.finished_at is not None
    assert datetime.fromisoformat(line["timestamp"]) < job.finished_at
    assert len(relay.emails) == 1


def test_an_email_that_dies_says_so_louder_and_keeps_the_words_of_the_relay_to_itself(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.answers["RCPT"] = "550 5.1.1 ann@example.com is unknown"
    traced_email(harness)
    harness.drain()

    said, (line,) = lines(capsys)
    assert (line["level"], line["verdict"], line["reason"], line["code"]) == ("warning", "dead", "refused", 550)
    assert "ann" not in said


def test_an_email_that_the_last_look_ends_says_so(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.execute("UPDATE notify.email_jobs SET expires_at = now() - interval '1 second' WHERE status = 'pending'")
    harness.drain()

    _, (line,) = lines(capsys)
    assert (line["verdict"], line["phase"], "milliseconds" in line) == ("expired", "recheck", False)
    assert relay.emails == []


def test_no_line_is_said_of_emails_that_are_well_where_only_warnings_are_wanted(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = replace(harness, changes={**harness.changes, "log_level": "warning"})
    traced_email(quiet)
    quiet.drain()

    assert lines(capsys)[1] == []
    assert len(relay.emails) == 1
