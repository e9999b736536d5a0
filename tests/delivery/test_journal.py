"""Every attempt is logged, from the caller's trace to the relay's answer, without anyone's name."""

import json
from dataclasses import replace
from datetime import datetime
from select import PIPE_BUF
from typing import Any

import pytest

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.directory import directory
from tests.support.harness import WorkerHarness, comment
from tests.support.messages import parsed
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
    """All output, and its lines about emails."""
    output = capsys.readouterr().err
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return output, [line for line in found if line["logger"] == "notify.emails"]


def test_the_log_line_of_a_sent_email_has_its_id_its_duration_and_its_trace(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.drain()

    output, (line,) = lines(capsys)
    (job,) = [job for job in harness.jobs() if job.to_email]
    assert line["relay"] == relay.url.removeprefix("smtp://")
    assert (line["event"], line["outcome"], line["level"]) == ("emails", "sent", "info")
    (email,) = line["emails"]
    assert 0 < email.pop("milliseconds") < 60_000
    assert email == {"job": job.id, "attempt": 1, "event_id": job.event_id, "trace": TRACE}
    (received,) = relay.emails
    assert parsed(received.content)["X-Notify-Trace"] == TRACE
    assert not any(word in output for word in ("ann", "@", BODY, "CL-1"))


def test_sent_emails_share_log_lines_that_a_pipe_writes_atomically(
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

    output, found = lines(capsys)
    (late,) = [line for line in found if line["event"] == "email"]
    batches = [line["emails"] for line in found if line["event"] == "emails"]
    by_name = {job.username: job.id for job in harness.jobs() if job.to_email}
    assert late["job"] == by_name.pop(names[7])
    assert sorted(email["job"] for batch in batches for email in batch) == sorted(by_name.values())
    assert len(batches) < len(by_name) / 2
    assert all(len(line.encode()) < PIPE_BUF for line in output.splitlines())
    assert all(f'"job": {job},' in output for job in by_name.values())


def test_a_sent_email_is_logged_before_it_is_recorded(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.drain()

    _, (line,) = lines(capsys)
    (job,) = [job for job in harness.jobs() if job.to_email]
    assert job.finished_at is not None
    assert datetime.fromisoformat(line["timestamp"]) < job.finished_at
    assert len(relay.emails) == 1


def test_a_dead_email_is_logged_at_a_higher_level_without_the_relays_words(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.answers["RCPT"] = "550 5.1.1 ann@example.com is unknown"
    traced_email(harness)
    harness.drain()

    output, (line,) = lines(capsys)
    assert (line["level"], line["outcome"], line["reason"], line["code"]) == ("warning", "dead", "refused", 550)
    assert "ann" not in output


def test_an_email_ended_by_the_recheck_is_logged(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_email(harness)
    harness.execute("UPDATE notify.email_jobs SET expires_at = now() - interval '1 second' WHERE status = 'pending'")
    harness.drain()

    _, (line,) = lines(capsys)
    assert (line["outcome"], line["phase"], "milliseconds" in line) == ("expired", "recheck", False)
    assert relay.emails == []


def test_successful_emails_are_not_logged_at_level_warning(
    harness: WorkerHarness, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = replace(harness, changes={**harness.changes, "log_level": "warning"})
    traced_email(quiet)
    quiet.drain()

    assert lines(capsys)[1] == []
    assert len(relay.emails) == 1
