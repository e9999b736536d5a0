"""One line for each letter that was tried: it leads from the caller's trace to the relay's answer and names nobody."""

import json
from dataclasses import replace
from email import message_from_bytes
from typing import Any

import pytest

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store import directory
from tests.support.office import Office, comment
from tests.support.smtp import ScriptedRelay

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
BODY = "The words that were said."


@pytest.fixture
def office(office: Office) -> Office:
    return replace(office, changes={**office.changes, "log_format": "json"})


def traced_letter(office: Office, username: str = "ann") -> None:
    with office.database.begin() as connection:
        directory.put_person(connection, Person(username=username, email=f"{username}@example.com"))
        event = {**comment(reviewers=[username], body=BODY), "traceparent": PARENT}
        receive(connection, [parse(event)])
    office.fan_out()


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[dict[str, Any]]]:
    """Everything that was said, and of it the lines about letters."""
    said = capsys.readouterr().err
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return said, [line for line in found if line["logger"] == "notify.letters"]


def test_a_letter_that_is_sent_says_which_it_was_and_how_long_it_took_and_carries_its_trace(
    office: Office, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_letter(office)
    office.drain()

    said, (line,) = lines(capsys)
    (job,) = [job for job in office.jobs() if job.to_email]
    expected = {"job": job.id, "attempt": 1, "event_id": job.event_id, "verdict": "sent", "code": 250, "trace": TRACE}
    assert line["relay"] == relay.url.removeprefix("smtp://")
    assert line.items() >= {**expected, "level": "info", "phase": "final_dot"}.items()
    assert 0 < line["milliseconds"] < 60_000
    (letter,) = relay.letters
    assert message_from_bytes(letter.content)["X-Notify-Trace"] == TRACE
    assert not any(word in said for word in ("ann", "@", BODY, "CL-1"))


def test_a_letter_that_dies_says_so_louder_and_keeps_the_words_of_the_relay_to_itself(
    office: Office, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.answers["RCPT"] = "550 5.1.1 ann@example.com is unknown"
    traced_letter(office)
    office.drain()

    said, (line,) = lines(capsys)
    assert (line["level"], line["verdict"], line["reason"], line["code"]) == ("warning", "dead", "refused", 550)
    assert "ann" not in said


def test_a_letter_that_the_last_look_ends_says_so(
    office: Office, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    traced_letter(office)
    office.now("UPDATE notify.email_jobs SET expires_at = now() - interval '1 second' WHERE status = 'pending'")
    office.drain()

    _, (line,) = lines(capsys)
    assert (line["verdict"], line["phase"], "milliseconds" in line) == ("expired", "last_look", False)
    assert relay.letters == []


def test_no_line_is_said_of_letters_that_are_well_where_only_warnings_are_wanted(
    office: Office, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = replace(office, changes={**office.changes, "log_level": "warning"})
    traced_letter(quiet)
    quiet.drain()

    assert lines(capsys)[1] == []
    assert len(relay.letters) == 1
