"""Log lines say what happened and where, and contain no personal data."""

import json
import logging

import pytest
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from notify import logs

SECRET = "alice@example.com"


def fail_with(_address: str) -> None:
    """Raise with an address in a local variable."""
    raise RuntimeError


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_does_not_show_the_values_of_variables(capsys: pytest.CaptureFixture[str], style: str) -> None:
    logs.configure(level="info", style=style)  # type: ignore[arg-type]
    try:
        fail_with(SECRET)
    except RuntimeError:
        structlog.get_logger("test").exception("it.failed")

    line = capsys.readouterr().err
    assert "RuntimeError" in line
    assert "fail_with" in line
    assert SECRET not in line


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_does_not_repeat_the_row_that_the_database_refused(
    capsys: pytest.CaptureFixture[str], connection: Connection, style: str
) -> None:
    logs.configure(level="info", style=style)  # type: ignore[arg-type]
    bad = text("INSERT INTO notify.people (username, email, is_bot) VALUES ('a', :email, NULL)")
    try:
        connection.execute(bad, {"email": SECRET})
    except IntegrityError:
        logging.getLogger("test").exception("refused")

    line = capsys.readouterr().err
    assert "is_bot" in line
    assert SECRET not in line


@pytest.mark.usefixtures("restored_logging")
def test_a_line_is_json_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", style="json")

    structlog.get_logger("test").info("email.sent", job=7)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["job"], line["level"], line["logger"]) == ("email.sent", 7, "info", "test")


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("style", ["json", "console"])
def test_lines_about_emails_have_the_same_form_as_all_others(
    capsys: pytest.CaptureFixture[str], style: logs.Style
) -> None:
    logs.configure(level="info", style=style)
    structlog.get_logger(logs.EMAILS).warning("email", job=7)
    logs.about_emails(level="info", style=style).warning("email", job=7)

    def facts(line: str) -> object:
        if style == "console":
            return line.partition("[")[2]
        found = json.loads(line)
        assert found.pop("timestamp").endswith("Z")
        return found

    ordinary, direct = capsys.readouterr().err.splitlines()
    assert facts(ordinary) == facts(direct)
