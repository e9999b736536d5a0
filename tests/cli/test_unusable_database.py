"""When the database is unusable, every command says so in one line, without a trace."""

import sys

import pytest

from notify.cli import USAGE, main
from tests.support.roles import PASSWORD, administer, as_role, roles

COMMANDS = (["jobs", "list"], ["explain", "k1", "ann"], ["prune"])
NOWHERE = "postgresql://me:hunter2@127.0.0.1:1/none"


def said(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["notify", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == USAGE
    return capsys.readouterr().err


@pytest.mark.usefixtures("notify")
@pytest.mark.parametrize("command", [*COMMANDS, ["migrate"]], ids=" ".join)
@pytest.mark.parametrize("url", [NOWHERE, "postgresql://me:hunter2@127.0.0.1/none?service=unknown", "postgresql:/me"])
def test_an_unreachable_database_is_named(
    command: list[str], url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", url)
    line = said(command, capsys, monkeypatch)
    assert line.count("\n") == 1
    assert "hunter2" not in line


@pytest.mark.usefixtures("notify")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_without_the_schema_or_without_permissions_is_named(
    command: list[str],
    unmigrated_database_url: str,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", unmigrated_database_url)
    assert "notify migrate" in said(command, capsys, monkeypatch)
    with roles(database_url, ["stranger"]):
        administer(database_url, f"CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")
        monkeypatch.setenv("NOTIFY_DATABASE_URL", as_role(database_url, "stranger"))
        line = said(command, capsys, monkeypatch)
    assert line.count("\n") == 1
    assert "permission denied for schema notify" in line
