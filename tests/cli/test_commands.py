"""The commands as an operator types them."""

import json
import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from notify.cli.commands import command_line
from notify.cli.job_actions import ActionNotAllowed
from notify.domain.errors import InvalidSettings, NotifyError
from notify.domain.outcomes import JobStatus
from notify.embedded.data_folder import ProcessId, RunningStack
from notify.http.person_tokens import shared_secret
from notify.store.database import Database
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope
from tests.cli.conftest import Notify
from tests.support.harness import WorkerHarness, comment
from tests.support.smtp import ScriptedRelay

IMPORTED = """
import sys
from notify.cli import main
try:
    main(["queues", "list", "--help"])
finally:
    from notify.cli.commands import COMMANDS
    modules = {f"notify.cli.{target.partition('.')[0]}" for target in COMMANDS.values()}
    print("imported:", *modules & set(sys.modules))
"""


def paths(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """The words of every command at every level."""
    for name, one in getattr(command, "commands", {}).items():
        yield from paths(one, *names, name)
    if names and not hasattr(command, "commands"):
        yield names


@pytest.mark.parametrize("command", [*paths(get_command(command_line()))], ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    said = CliRunner().invoke(command_line(*command[:1]), [*command, "--help"])

    assert said.exit_code == 0
    assert "Usage:" in said.output


@pytest.mark.parametrize("command", [(), *paths(get_command(command_line()))], ids=" ".join)
def test_help_is_wrapped_at_the_terminals_width_and_nowhere_else(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(command_line(*command[:1]), [*command, "--help"], env={"COLUMNS": "80"}).output
    paragraphs = re.split(r"\n\s*\n", shown.partition("Usage:")[2].partition("╭")[0])

    for first, second in (pair for text in paragraphs for pair in pairwise(text.splitlines())):
        assert len(first.rstrip()) + len(" ") + len(second.split()[0]) > 80 - len(" ")


def test_a_command_does_not_wait_for_the_import_of_the_others() -> None:
    said = run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[-1] == "imported: notify.cli.queues"


def test_events_on_standard_input_are_stored_line_by_line(notify: Notify, database: Database) -> None:
    lines = "\n".join(json.dumps(comment(key=f"k{number}")) for number in range(3))

    first = notify("emit", "-", "--json", stdin=lines)
    again = notify("emit", "-", "--json", stdin=lines)

    assert (first.code, first.json) == (0, {"accepted": 3, "duplicates": 0, "refused": []})
    assert again.json == {"accepted": 0, "duplicates": 3, "refused": []}
    assert WorkerHarness(database, None).execute("SELECT count(*) FROM notify.events") == [(3,)]


def test_a_refused_line_is_named_and_the_others_are_stored(notify: Notify, database: Database) -> None:
    bad, other = {**comment(key="bad"), "cl": {}}, {**comment(key="good"), "actor": "erin"}
    events = [comment(key="good"), bad, comment(key="k2"), other]
    lines = "\n".join([*map(json.dumps, events), "{not json", ""])

    said = notify("emit", "-", "--json", stdin=lines)

    assert said.code == 1
    assert said.json["accepted"] == 2
    assert [(one["line"], one["field"]) for one in said.json["refused"]] == [(2, "cl.link"), (5, ""), (4, "actor")]
    assert WorkerHarness(database, None).execute("SELECT key FROM notify.events ORDER BY id") == [("good",), ("k2",)]


def test_every_wrong_field_of_a_line_is_named_with_the_nearest_known_one(notify: Notify) -> None:
    wrong = {**comment(), "acter": "dana", "cl": {"link": "", "titel": "Cap"}, "comment": {"id": "1", "xyz": "?"}}
    del wrong["actor"]

    said = notify("emit", "-", "--json", stdin=json.dumps(wrong))
    shown = notify("emit", "-", stdin=json.dumps(wrong)).output

    reasons = {one["field"]: one["reason"] for one in said.json["refused"]}
    assert set(reasons) == {"actor", "acter", "cl.link", "cl.titel", "comment.body", "comment.xyz"}
    assert ("mean actor?" in reasons["acter"], "mean title?" in reasons["cl.titel"]) == (True, True)
    assert "known are: body" in reasons["comment.xyz"]
    assert "0 accepted, 0 duplicates, 1 refused" in shown


def test_a_line_dated_in_the_future_is_refused_and_the_others_are_stored(notify: Notify, database: Database) -> None:
    late = {**comment(key="late"), "occurred_at": "2999-01-01T00:00:00Z"}
    lines = "\n".join(map(json.dumps, [comment(key="k1"), late, comment(key="k2")]))

    said = notify("emit", "-", "--json", stdin=lines).json

    assert (said["accepted"], [(one["line"], one["field"]) for one in said["refused"]]) == (2, [(2, "occurred_at")])
    assert WorkerHarness(database, None).execute("SELECT key FROM notify.events ORDER BY id") == [("k1",), ("k2",)]


def test_an_unknown_status_is_an_error_that_lists_the_known_ones(notify: Notify) -> None:
    said = notify("jobs", "list", "--status", "foo")

    assert said.code == 2
    assert all(status in said.errors for status in JobStatus)


def test_emails_can_be_listed_shown_cancelled_retried_and_replayed(notify: Notify, database: Database) -> None:
    harness = WorkerHarness(database, None)
    (job,) = [one for one in harness.pending_emails("ann") if one.status == "pending"]
    number = str(job.id)

    assert [one["id"] for one in notify("jobs", "list", "--username", "ann", "--json").json] == [job.id]
    assert notify("jobs", "cancel", number).code == 0
    assert notify("jobs", "show", number, "--json").json["status"] == "cancelled"
    replayed = notify("jobs", "replay", number, "--json").json
    assert notify("jobs", "retry", number).code == 0

    rows = {one.id: (one.status, one.replay_of) for one in harness.jobs() if one.username == "ann"}
    assert rows == {job.id: ("pending", None), replayed["ids"][0]: ("pending", job.id)}


@pytest.mark.parametrize("action", ["retry", "cancel", "replay", "show"])
def test_an_unknown_job_is_an_error(notify: Notify, action: str) -> None:
    said = notify("jobs", action, "999999")

    assert isinstance(said.error, NotifyError)
    assert said.code != 0


def test_retry_does_not_send_a_sent_email_again(notify: Notify, database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    (job,) = [one for one in harness.pending_emails("ann") if one.status == "pending"]
    harness.drain()

    assert isinstance(notify("jobs", "retry", str(job.id)).error, ActionNotAllowed)
    assert harness.drain()["claimed"] == 0


@pytest.mark.parametrize("command", [["token", "list", "--json"], ["preview"]], ids=" ".join)
def test_a_relay_alone_is_enough_for_commands_on_the_embedded_stack(
    notify: Notify, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "MAIL_FROM", "PUBLIC_URL", "SECRET_KEYS"):
        monkeypatch.delenv(f"NOTIFY_{name}")
    monkeypatch.setenv("NOTIFY_SMTP_URL", "smtp://127.0.0.1:9")
    assert notify(*command).error is None


def test_a_relay_alone_is_not_enough_for_commands_on_an_external_database(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_MAIL_FROM")
    monkeypatch.setenv("NOTIFY_SMTP_URL", "smtp://127.0.0.1:9")
    assert isinstance(notify("token", "list").error, InvalidSettings)


def test_a_persons_token_contains_their_name_where_the_api_looks(
    notify: Notify, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_JWT_CLAIM", "preferred_username")
    made = notify("token", "user", "dana", "--json").json["token"]
    people = shared_secret(environment["NOTIFY_JWT_SECRET"], claim="preferred_username")
    assert people.username(made) == "dana"


def test_a_programs_token_works_until_it_is_revoked(notify: Notify, database: Database) -> None:
    made = notify("token", "create", "--name", "ci", "--scope", "events:write", "--json").json
    with database.begin() as connection:
        assert tokens.use(connection, made["token"]) == frozenset({Scope.EVENTS_WRITE})
    (listed,) = notify("token", "list", "--json").json

    assert made["token"] not in json.dumps(listed)
    assert notify("token", "revoke", str(listed["id"])).code == 0
    with database.begin() as connection:
        assert tokens.use(connection, made["token"]) is None


def test_a_preview_shows_the_email_in_every_form(notify: Notify) -> None:
    shown = notify("preview", "cl.comment.created", "--json").json

    assert shown["subject"] == "[monorepo] Cap the upload retry (CL-4821)"
    assert "You get this because you review CL-4821." in shown["text"]
    assert "<html" in shown["html"]
    assert shown["raw"].startswith("To: ")
    assert notify("preview", "--part", "html").output.strip() == shown["html"].strip()


@pytest.mark.parametrize("is_up", [False, True])
def test_the_links_of_a_preview_lead_to_the_port_that_is_configured_or_in_use(
    notify: Notify, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_up: bool
) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "MAIL_FROM", "PUBLIC_URL", "SECRET_KEYS"):
        monkeypatch.delenv(f"NOTIFY_{name}")
    monkeypatch.setenv("NOTIFY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NOTIFY_API_PORT", "8123")
    if is_up:
        supervisor = ProcessId.of("notify", os.getpid())
        RunningStack(supervisor, ready=True, settings={"public_url": "http://127.0.0.1:8456"}).save(tmp_path)

    shown = notify("preview").output

    assert f"http://127.0.0.1:{8456 if is_up else 8123}/preferences/" in shown


def test_a_command_beside_a_running_stack_uses_its_database(
    notify: Notify, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    of_stack = {name: environment[f"NOTIFY_{name.upper()}"] for name in ("database_url", "broker_url", "secret_keys")}
    for name in ("DATABASE_URL", "BROKER_URL", "MAIL_FROM", "PUBLIC_URL", "SECRET_KEYS"):
        monkeypatch.delenv(f"NOTIFY_{name}")
    monkeypatch.setenv("NOTIFY_DATA_DIR", str(tmp_path))
    RunningStack(ProcessId.of("notify", os.getpid()), ready=True, settings=of_stack).save(tmp_path)

    notify("token", "create", "--name", "ci", "--scope", "events:write")

    assert [one["name"] for one in notify("token", "list", "--json").json] == ["ci"]
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"], "no server has been started here"


def test_a_preview_of_an_unknown_type_is_an_error(notify: Notify) -> None:
    assert isinstance(notify("preview", "cl.sneezed").error, NotifyError)


def test_a_test_email_goes_through_the_relay_and_its_answer_is_shown(
    notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)

    taken = notify("send-test", "ann@example.com", "--json")
    relay.answers["RCPT"] = "550 5.1.1 no such user"
    refused = notify("send-test", "ann@example.com", "--json")

    assert (taken.code, taken.json["outcome"], taken.json["answer"]["code"]) == (0, "sent", 250)
    assert (refused.code, refused.json["outcome"], refused.json["answer"]["code"]) == (1, "dead", 550)
    assert [email.recipient for email in relay.emails] == ["ann@example.com"]


@pytest.mark.parametrize("none", ["ann", "Ann <ann@example.com>", "ann@exa_mple.com"])
def test_a_test_email_to_an_invalid_address_is_refused_before_the_relay_is_asked(
    notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, none: str
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)

    assert notify("send-test", none).code == 2
    assert relay.connections == 0


def test_a_test_email_goes_through_the_named_relay(
    notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedRelay() as second:
        monkeypatch.setenv("NOTIFY_SMTP_URL", second.url)
        monkeypatch.setenv("NOTIFY_SMTP_FALLBACK_URLS", relay.url)
        name = relay.url.removeprefix("smtp://")

        taken = notify("send-test", "ann@example.com", "--relay", name, "--json")
        mistyped = notify("send-test", "ann@example.com", "--relay", f"{name}0")

        assert (taken.code, taken.json["relay"]) == (0, name)
        assert isinstance(mistyped.error, NotifyError)
        assert (len(relay.emails), second.connections) == (1, 0)


def test_a_test_email_without_a_relay_is_refused(notify: Notify) -> None:
    assert isinstance(notify("send-test", "ann@example.com").error, InvalidSettings)


@pytest.mark.usefixtures("healthy")
def test_the_doctor_finds_nothing_when_everything_is_healthy(
    notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)

    said = notify("doctor", "--json")

    assert (said.code, [one["about"] for one in said.json if not one["ok"]]) == (0, [])
    assert {"database", "schema", "broker", "relay", "breaker"} <= {one["about"] for one in said.json}


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("variable", "value", "about"),
    [
        ("NOTIFY_SMTP_URL", "smtp://127.0.0.1:1", "relay"),
        ("NOTIFY_SMTP_URL", "", "relay"),
        ("NOTIFY_BROKER_URL", "redis://127.0.0.1:1/0", "broker"),
        ("NOTIFY_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/none", "database"),
    ],
)
def test_the_doctor_names_each_problem_and_its_fix(
    notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, about: str
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)
    monkeypatch.setenv(variable, value)

    said = notify("doctor", "--json")

    assert said.code == 1
    assert {one["about"] for one in said.json if not one["ok"]} == {about}
    assert all(one["why"] and one["fix"] for one in said.json if not one["ok"])


def test_migrating_twice_changes_nothing(notify: Notify) -> None:
    first, second = (notify("migrate", "--json") for _ in range(2))

    assert first.code == second.code == 0
    assert second.json["from"] == second.json["to"]
