"""A process told to die between two steps does, and the tables show which steps were taken."""

from collections.abc import Mapping
from signal import SIGKILL

import pytest

from notify.checkpoints import CRASH_AT, NAMES
from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.harness import WorkerHarness, comment
from tests.support.single_drain import drain_once
from tests.support.smtp import ScriptedRelay
from tests.support.worker import worker

EVENT = """
    SELECT CASE WHEN lane = 8 THEN 'working' ELSE status END
    FROM notify.events AS event LEFT JOIN notify.work_items AS item ON stage = 'fan_out' AND item.id = event.id
"""
ROWS = "SELECT status FROM jobs WHERE to_email IS NOT NULL ORDER BY id"
LAPSE = "UPDATE notify.work_items SET due_at = now()"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A harness whose tables contain one comment that is to be fanned out to ann."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
        receive(connection, [parse(comment(reviewers=["ann"]))])
    return WorkerHarness(database, relay.url)


@pytest.fixture
def worker_environment(environment: dict[str, str], relay: ScriptedRelay) -> dict[str, str]:
    """The environment of a worker that sends one email after the other."""
    return {**environment, "NOTIFY_SMTP_URL": relay.url, "NOTIFY_SMTP_SESSIONS": "1"}


@pytest.mark.parametrize(
    ("name", "event", "job", "on_the_wire"),
    [
        ("fan_out.claimed", "working", None, 0),
        ("fan_out.written", "working", None, 0),
        ("fan_out.committed", "done", "pending", 0),
        ("email.claimed", "done", "sending", 0),
        ("email.answered", "done", "sending", 1),
        ("record.written", "done", "sending", 1),
        ("record.committed", "done", "sent", 1),
    ],
)
def test_a_process_dies_at_the_named_checkpoint_and_the_next_one_finishes(
    harness: WorkerHarness,
    worker_environment: Mapping[str, str],
    relay: ScriptedRelay,
    name: str,
    event: str,
    job: str | None,
    on_the_wire: int,
) -> None:
    code, _ = drain_once({**worker_environment, CRASH_AT: name})

    assert code == -SIGKILL
    assert harness.execute(EVENT) == [(event,)]
    assert harness.execute(ROWS) == ([(job,)] if job else [])
    assert len(relay.emails) == on_the_wire

    harness.execute(LAPSE)
    assert drain_once(worker_environment)[0] == 0
    assert harness.execute(ROWS) == [("sent",)]
    assert {email.recipient for email in relay.emails} == {"ann@example.com"}


def test_only_the_named_occurrence_is_fatal(
    harness: WorkerHarness, worker_environment: Mapping[str, str], relay: ScriptedRelay
) -> None:
    harness.pending_emails("bob", "cy", key="k2", link="CL-2")

    assert drain_once({**worker_environment, CRASH_AT: "email.answered:2"})[0] == -SIGKILL

    assert len(relay.emails) == 2


def test_a_process_that_does_not_reach_the_checkpoint_survives(
    harness: WorkerHarness, worker_environment: Mapping[str, str]
) -> None:
    assert drain_once({**worker_environment, CRASH_AT: "email.answered:2"})[0] == 0
    assert harness.execute(ROWS) == [("sent",)]


@pytest.mark.parametrize("senseless", ["email.lost", "email.claimed:0", "email.claimed:soon"])
def test_an_unknown_checkpoint_stops_the_start_and_the_known_ones_are_listed(
    environment: dict[str, str], senseless: str
) -> None:
    code, said = drain_once({**environment, CRASH_AT: senseless})
    assert code == 1
    assert senseless in said
    assert all(name in said for name in NAMES)


def test_a_worker_with_an_unknown_checkpoint_never_forks(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with worker({**environment, CRASH_AT: "email.lost"}, tmp_path_factory.mktemp("worker")) as refused:
        assert refused.process.wait(30) == 1
        assert "email.lost" in refused.log.read_text()
        assert "worker.ready" not in refused.log.read_text()
