"""A template breaks and is fixed: pending emails are sent fixed, dead ones are retried by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from notify.cli.commands import command_line
from notify.delivery.engine import Engine
from notify.store.database import Database
from notify.store.outbox import jobs
from tests.support.harness import WorkerHarness
from tests.support.messages import parsed, text_of
from tests.support.smtp import ScriptedRelay

# With the line and the message that follow the file's name.
BROKEN = {
    "Once\n{% if comment %}\n": ":2, error: TemplateSyntaxError: Unexpected end of template.",
    "Once\n{{ coment.quoted }}": ":2, error: UndefinedError: 'coment' is undefined",
}
FIXED = "Once more: {{ comment.quoted }}\n"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A deployment's own text of an email, in the configured folder."""
    path = tmp_path / "email" / "cl.comment.created" / "body.txt"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay, template: Path) -> WorkerHarness:
    return WorkerHarness(database, relay.url, changes={"templates_dir": template.parents[2]})


@pytest.fixture
def engine(harness: WorkerHarness) -> Iterator[Engine]:
    """A worker that runs throughout."""
    with harness.engine() as running:
        yield running


def texts(relay: ScriptedRelay) -> dict[str, str]:
    """The text of every email that the relay accepted, by recipient."""
    return {email.recipient: text_of(parsed(email.content)) for email in relay.emails}


def became_of(harness: WorkerHarness, key: str, username: str) -> tuple[str, str | None]:
    (found,) = [(job.status, job.outcome_reason) for job in harness.jobs(key) if job.username == username]
    return found


@pytest.mark.parametrize("broken", BROKEN, ids=["syntax", "unknown name"])
def test_emails_pending_while_a_template_is_broken_are_sent_fixed(
    harness: WorkerHarness, engine: Engine, relay: ScriptedRelay, template: Path, broken: str
) -> None:
    template.write_text(broken)
    harness.pending_emails("ann", key="too-early")
    engine.drain()
    harness.pending_emails("bob", key="waits")
    assert became_of(harness, "too-early", "ann") == ("dead", "template_error")
    assert relay.emails == []

    template.write_text(FIXED)
    engine.drain()

    assert became_of(harness, "waits", "bob") == ("sent", None)
    assert texts(relay).keys() == {"bob@example.com"}
    assert texts(relay)["bob@example.com"].startswith("Once more: > The jitter")


@pytest.mark.parametrize(("broken", "words"), BROKEN.items(), ids=["syntax", "unknown name"])
def test_emails_killed_by_a_template_are_sent_fixed_when_they_are_retried(
    harness: WorkerHarness,
    engine: Engine,
    relay: ScriptedRelay,
    template: Path,
    broken: str,
    words: str,
    environment: Mapping[str, str],
) -> None:
    template.write_text(broken)
    written = harness.pending_emails("ann", "bob")
    engine.drain()
    assert all(f"{template}{words}" in one.last_error for one in harness.jobs() if one.to_email)
    with harness.database.begin() as connection:
        outcomes = [one.outcome for job in written for one in jobs.attempts(connection, job.id)]
    assert outcomes == ["dead: template_error"] * 2

    template.write_text(FIXED)
    said = CliRunner().invoke(command_line(), ["jobs", "retry", "--reason", "template_error", "--yes"], env=environment)
    engine.drain()

    assert said.exit_code == 0
    names = {parsed(email.content)["Message-ID"] for email in relay.emails}
    assert names == {f"<{job.message_id}>" for job in written if job.message_id}
    assert texts(relay).keys() == {"ann@example.com", "bob@example.com"}
    assert all(text.startswith("Once more: > The jitter") for text in texts(relay).values())
