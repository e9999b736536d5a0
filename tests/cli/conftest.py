"""The command line on the test's database."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from notify.cli.commands import command_line
from notify.store.database import Database
from tests.support.smtp import ScriptedRelay


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command printed on standard output and standard error, its exit code, and what it raised."""

    code: int
    output: str
    errors: str
    error: BaseException | None

    @property
    def json(self) -> Any:
        """The output of --json."""
        return json.loads(self.output)


Notify = Callable[..., CommandResult]


@pytest.fixture
def healthy(database: Database) -> None:
    """A server without findings of its own; an external one may have some."""
    with database.begin() as connection:
        if connection.scalar(text("SHOW autovacuum")) != "on":
            pytest.skip("autovacuum is off on the server named by NOTIFY_TEST_DATABASE_URL, and the doctor says so")


@pytest.fixture
def notify(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Notify:
    """Run ``notify`` with these arguments, and with *stdin* as its standard input."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, stdin: str | None = None) -> CommandResult:
        result = CliRunner().invoke(command_line(*arguments[:1]), arguments, input=stdin)
        return CommandResult(result.exit_code, result.stdout, result.stderr, result.exception)

    return run


@pytest.fixture
def well(notify: Notify, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> Notify:
    """The commands where everything is healthy."""
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)
    return notify
