"""What the supervisor passes to its processes: whole arguments, complete settings, lasting secrets."""

import sys
from pathlib import Path
from string import Formatter

import pytest

from notify.embedded.commands import CATCHER, COMMANDS, environment
from notify.embedded.completion import as_text, completed, for_running_stack, replaced
from notify.embedded.data_folder import secrets
from notify.settings import SECRET, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return completed(Settings(data_dir=tmp_path))


def test_a_folder_with_a_space_in_its_name_stays_one_argument() -> None:
    folder = Path("/a folder/emails")
    argv = CATCHER.argv(catcher_host="127.0.0.1", catcher_port=1025, inbox_port=8025, emails=folder)
    assert argv[0] == sys.executable
    assert argv[-2:] == ["--folder", str(folder)]


def test_no_command_line_contains_a_setting_that_may_be_secret() -> None:
    """Every user of a machine can read the arguments of every process."""
    named = {name for one in (*COMMANDS, CATCHER) for _, name, _, _ in Formatter().parse(one.line)}
    assert "api_port" in named
    assert not named & SECRET


def test_processes_that_bring_in_work_stop_before_those_that_do_it() -> None:
    names = [command.name for command in COMMANDS]
    assert names.index("api") < names.index("beat") < names.index("worker")


def test_a_process_gets_the_settings_of_the_stack_and_no_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_URL", "smtp://elsewhere")
    handed = environment(replaced(settings, smtp_url=None, api_port=18000))
    assert "NOTIFY_SMTP_URL" not in handed
    assert handed["NOTIFY_API_PORT"] == "18000"
    assert handed["NOTIFY_SECRET_KEYS"] == secrets(settings.data_dir)["secret_keys"]


def test_explicit_settings_are_not_completed(tmp_path: Path) -> None:
    chosen = {"mail_from": "review@example.com", "secret_keys": "k" * 32, "jwks_url": "https://example.com/keys"}
    settings = completed(Settings(data_dir=tmp_path, **chosen))
    assert settings.mail_from == chosen["mail_from"]
    assert as_text(settings)["secret_keys"] == chosen["secret_keys"]
    assert settings.jwt_secret is None


def test_settings_passed_to_another_process_arrive_unchanged(settings: Settings) -> None:
    other = Settings(data_dir=settings.data_dir)
    assert as_text(for_running_stack(other, as_text(settings))) == as_text(settings)
