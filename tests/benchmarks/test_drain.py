"""The two steps that a harness runs: nothing before its line, everything after it, and clear refusals."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from subprocess import PIPE, Popen
from uuid import UUID

import psutil
import pytest
from sqlalchemy import func, select

from notify.domain.claims import Lane
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.tables.emails import email_jobs
from tests.benchmarks import steps
from tests.benchmarks.benchmark_servers import MAIL
from tests.benchmarks.meter import proportional_bytes
from tests.benchmarks.paused_workers import ROOT, RelayIsMuted, busy, pause, resume
from tests.benchmarks.workload import AUDIENCE
from tests.support import rows
from tests.support.smtp import ScriptedRelay

BY_NAME = ("-m", "tests.benchmarks.drain")
BY_PATH = ("tests/benchmarks/drain.py",)
SECONDS = 90
# The processes share what they imported; separate copies would take a third more.
MOST_BYTES_IDLE = 195_000_000
RELAY = "127.0.0.1:25"
EMAILS = 2 * AUDIENCE + 5


@pytest.fixture
def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for the steps, without a relay."""
    given = {"NOTIFY_DATABASE_URL", "NOTIFY_BROKER_URL"}
    return {name: value for name, value in environment.items() if not name.startswith("NOTIFY_") or name in given}


@contextmanager
def step(environment: Mapping[str, str], *words: str) -> Iterator[Popen[str]]:
    """A running step, whose standard output and error can be read."""
    command = (sys.executable, *words)
    with Popen(command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()  # otherwise its workers would outlive a failing test
            process.wait(SECONDS)


def finish(process: Popen[str], *, word: str) -> tuple[str, str]:
    """Send the line, and wait for the end: standard output and standard error."""
    printed, errors = process.communicate(word, timeout=SECONDS)
    return printed, errors


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Set these variables in this process, as a step finds them."""
    for name, value in {**MAIL, **environment}.items():
        monkeypatch.setenv(name, value)


def by_status(database: Database) -> dict[str, int]:
    with database.begin() as connection:
        question = select(email_jobs.c.status, func.count()).group_by(email_jobs.c.status)
        return {status: count for status, count in connection.execute(question)}  # noqa: C416 - rows are typed one by one


def test_enqueue_writes_emails_and_drain_sends_them_with_workers_that_share_memory(
    database: Database, bare: dict[str, str]
) -> None:
    with ScriptedRelay() as relay:
        surroundings = {**bare, "NOTIFY_SMTP_URL": relay.url}
        with step(surroundings, *BY_PATH, "enqueue", str(EMAILS)) as enqueue:
            assert enqueue.stdout is not None
            assert enqueue.stdout.readline() == "ready\n"
            assert by_status(database) == {}
            assert finish(enqueue, word="\n")[0] == "done\n"
        assert by_status(database) == {"pending": EMAILS}

        with step(surroundings, *BY_NAME, "drain") as drain:
            assert drain.stdout is not None
            assert drain.stdout.readline() == "ready\n"
            assert by_status(database) == {"pending": EMAILS}
            with database.begin() as connection:
                assert relays.breaker(connection, f"127.0.0.1:{relay.port}").is_muted
            workers = psutil.Process(drain.pid).children(recursive=True)
            assert len(workers) >= 3
            assert (proportional_bytes(workers) or 0) < MOST_BYTES_IDLE
            assert finish(drain, word="go\n")[0] == "done\n"
        assert drain.returncode == 0
        assert by_status(database) == {"sent": EMAILS}
        assert len({email.recipient for email in relay.emails}) == len(relay.emails) == EMAILS
        assert not any(one.is_running() for one in workers)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        pytest.param(("enqueue", "1"), {"NOTIFY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, id="database"),
        pytest.param(("drain",), {}, id="no relay"),
        pytest.param(("drain",), {"NOTIFY_SMTP_URL": "smtp://127.0.0.1:1"}, id="relay"),
        pytest.param(("drain",), {"NOTIFY_BROKER_URL": "redis://127.0.0.1:1"}, id="broker"),
    ],
)
def test_a_step_that_cannot_start_says_so_and_is_never_ready(
    bare: dict[str, str],
    words: tuple[str, ...],
    changes: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ScriptedRelay() as relay:
        usual = {"NOTIFY_SMTP_URL": relay.url} if "NOTIFY_BROKER_URL" in changes else {}
        set_all(monkeypatch, {**bare, **usual, **changes})
        assert steps.run(words) == 1
    printed, errors = capfd.readouterr()
    assert printed == ""
    assert errors


@pytest.mark.parametrize("words", [("enqueue", "none"), ("enqueue", "0"), ("enqueue",), ("fill",), ()])
def test_invalid_arguments_end_it_before_anything_is_touched(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        steps.run(words)


def test_no_email_is_sent_when_the_harness_goes_away(
    database: Database,
    bare: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    set_all(monkeypatch, bare)
    monkeypatch.setattr(sys, "stdin", StringIO())
    assert steps.run(["enqueue", "1"]) == 1
    printed, errors = capfd.readouterr()
    assert printed == "ready\n"
    assert errors
    assert by_status(database) == {}


def test_a_relay_muted_by_somebody_else_stays_muted(database: Database) -> None:
    with database.begin() as connection:
        relays.mute(connection, RELAY, because="they asked us to wait")
    with pytest.raises(RelayIsMuted):
        pause(database, RELAY)
    with database.begin() as connection:
        assert relays.breaker(connection, RELAY).muted_because == "they asked us to wait"


def test_workers_paused_by_a_killed_drain_can_be_paused_and_started_again(database: Database) -> None:
    pause(database, RELAY)
    pause(database, RELAY)
    resume(database, RELAY)
    with database.begin() as connection:
        assert not relays.breaker(connection, RELAY).is_open


def test_a_drain_is_over_when_the_remaining_emails_are_due_later(database: Database) -> None:
    with database.begin() as connection:
        assert not busy(connection)
        rows.job(connection, due_at=rows.ago(hours=-1))
        assert not busy(connection)
        mine = rows.job(connection)
        assert busy(connection)
    leased = {"lane": Lane.LEASED, "leased_by": UUID(int=1), "due_at": rows.ago(hours=-1)}
    rows.change_item(database, DELIVER, mine, **leased)
    with database.begin() as connection:
        assert busy(connection)
