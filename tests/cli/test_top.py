"""What ``notify top`` shows: the current state, and the true cause when something is wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pty import openpty
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from sqlalchemy import insert

from notify.cli.checks import Finding
from notify.cli.top_screen import OutboxState, screen
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.operations.gauges import Gauges
from notify.store.tables.emails import email_attempts
from tests.cli.conftest import Notify
from tests.support import rows
from tests.support.harness import WorkerHarness
from tests.support.smtp import Certificate, ScriptedRelay, nobody_listening

EARLIER = "UPDATE notify.delivery_stats SET minute = minute - interval '1 minute'"
WORKER = UUID(int=7)


def wrong(said: Mapping[str, Any]) -> dict[str, str]:
    return {one["about"]: one["found"] for one in said["wrong"]}


def test_the_current_state_is_shown_at_once_and_as_json(well: Notify, database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann", "bob")
    relay.reply_by_recipient["bob@example.com"] = "450 4.7.1 [greylisted]"
    harness.drain()
    harness.execute(EARLIER)

    said = well("top", "--once", "--json")

    assert (said.code, said.json["wrong"]) == (0, [])
    assert said.json["rates"]["sent"] == {"last_minute": 1, "per_minute": 0.2}
    assert (said.json["stages"]["deliver"]["due"], said.json["stages"]["deliver"]["scheduled"]) == (0, 1)
    (worker,) = said.json["workers"]
    assert (worker["emails"], worker["events"], worker["sent"]) == (0, 0, 1)
    (failure,) = said.json["failures"]
    assert (failure["count"], failure["code"], failure["phase"]) == (1, 450, "rcpt")
    shown = well("top", "--once").output
    assert all(words in shown for words in ("[greylisted]", "450 4.7.1", relay.url.removeprefix("smtp://"), "closed"))


def test_a_worker_is_shown_with_its_leases_and_their_end(well: Notify, database: Database) -> None:
    lease = {"status": "sending", "due_at": rows.ago(seconds=-60), "leased_by": WORKER, "attempt": 1}
    with database.begin() as connection:
        for _ in range(3):
            rows.job(connection, **lease)
        rows.event(connection, **{**lease, "status": "working", "due_at": rows.ago(seconds=-30)})

    (worker,) = well("top", "--once", "--json").json["workers"]

    assert (worker["worker"], worker["emails"], worker["events"]) == (str(WORKER), 3, 1)
    left = datetime.fromisoformat(worker["until"]) - datetime.now(UTC)
    assert timedelta(seconds=0) < left <= timedelta(seconds=30)


def test_similar_errors_are_one_line_with_the_newest_reply(well: Notify, database: Database) -> None:
    attempts = [(450, "first"), (554, "spam"), (450, "second"), (450, None)]
    with database.begin() as connection:
        job = rows.job(connection, due_at=rows.ago(hours=-1))
        for number, (code, words) in enumerate(attempts):
            values = {"job_id": job, "attempt": number, "code": code, "text": words, "outcome": "retry: later"}
            connection.execute(insert(email_attempts).values(values))
        connection.execute(
            insert(email_attempts).values(job_id=job, attempt=9, code=421, outcome="x", at=rows.ago(hours=2))
        )

    failures = well("top", "--once", "--json").json["failures"]

    assert [(one["count"], one["code"], one["text"]) for one in failures] == [(3, 450, "second"), (1, 554, "spam")]


def test_a_relay_that_is_down_is_named(notify: Notify, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_listening() as port:
        url = f"smtp://127.0.0.1:{port}"
        monkeypatch.setenv("NOTIFY_SMTP_URL", url)
        harness = WorkerHarness(database, url)
        harness.pending_emails("ann")
        for _ in range(5):
            harness.drain()
        said = notify("top", "--once", "--json")

    assert said.code == 1
    assert "open: relay" in wrong(said.json)["breaker"]
    assert said.json["relays"][0]["is_open"]


def test_a_wrong_password_is_named_and_not_reported_as_a_relay_that_is_down(
    notify: Notify, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with ScriptedRelay(certificate=trusted, credentials=("ann", "secret")) as relay:
        url = f"smtp://ann:mistyped@127.0.0.1:{relay.port}?starttls=required"
        monkeypatch.setenv("NOTIFY_SMTP_URL", url)
        harness = WorkerHarness(database, url)
        harness.pending_emails("ann")
        harness.drain()
        said = notify("top", "--once", "--json")

    assert "open: configuration" in wrong(said.json)["breaker"]
    assert "auth_refused" in wrong(said.json)["breaker"]
    assert "mistyped" not in said.output


def test_a_broker_outage_is_named(well: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_BROKER_URL", "redis://127.0.0.1:1/0")
    assert set(wrong(well("top", "--once", "--json").json)) == {"broker"}


def test_a_poison_email_is_named(well: Notify, database: Database) -> None:
    with database.begin() as connection:
        rows.job(connection, **{**rows.ended("dead"), "outcome_reason": "poison"})
    assert "poison" in wrong(well("top", "--once", "--json").json)["dead in deliver"]


def test_a_database_outage_is_shown_instead_of_numbers(well: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/none")
    said = well("top", "--once", "--json")
    assert said.code == 1
    assert "Connection refused" in wrong(said.json)["database"]


def test_external_text_is_shown_without_interpretation() -> None:
    gauges = Gauges(
        due=1_234, oldest_due_seconds=3_725, scheduled=0, in_flight=2, expired_leases=0, dead_last_day={"poison": 3}
    )
    standings = OutboxState(
        at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        stages={DELIVER: gauges},
        rates={},
        workers=[],
        relays=[],
        failures=[],
    )
    console = Console(width=120)
    with console.capture() as printed:
        console.print(screen(standings, [Finding("breaker", False, "[bold]no[/bold] [link", "", "mend")]))
    shown = printed.get()
    assert all(words in shown for words in ("[bold]no[/bold] [link", "1,234", "1 h 2 min", "no relay is configured"))


def test_top_runs_until_it_is_stopped(environment: Mapping[str, str]) -> None:
    # A suite that runs in the background ignores Ctrl-C, and so would its children.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heeds}; from notify.cli import main; main()", "top", "--every", "0.5"]
    ours, theirs = openpty()
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(
            command, env={**environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}, stdout=theirs, stderr=theirs
        ) as watching,
    ):
        os.close(theirs)
        try:
            seen = b""
            while seen.count(b"notify top") < 2:
                seen += terminal.read(65_536)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=30) == 0
        finally:
            watching.kill()
    assert b"deliver" in seen


def test_top_does_not_say_that_all_is_well_beside_an_open_breaker(well: Notify, database: Database) -> None:
    assert "no problem" in well("top", "--once").output
    with database.begin() as connection:
        relays.mute(connection, "elsewhere.example:25", because=None)
    shown = well("top", "--once").output
    assert "no problem" not in shown
    assert "elsewhere.example:25 wait" in shown
