"""A worker stopped under load finishes what it has begun, releases the rest, and exits in time."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from signal import SIGQUIT, SIGTERM, Signals
from uuid import uuid4

import pytest

from notify.checkpoints import FAN_OUT_COMMITTED
from notify.doorbell import NoDoorbell
from notify.intake.fan_out import FanOut
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.work.stage import BatchStage
from tests.support.harness import MINUTE, WorkerHarness, comment, usernames
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.worker import worker

EMAILS, PROCESSES, SESSIONS = 60, 2, 2
STOP_SECONDS = 30
JOBS = "SELECT status, failures, lapses FROM jobs WHERE to_email IS NOT NULL"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """Sixty pending emails."""
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails(*usernames(EMAILS))
    harness.execute("UPDATE notify.people SET email = username || '@' || username || '.test'")
    return harness


@pytest.fixture
def settings(environment: dict[str, str], relay: ScriptedRelay) -> dict[str, str]:
    """A worker of two processes with two sessions each."""
    changes = {"SMTP_URL": relay.url, "SMTP_SESSIONS": str(SESSIONS), "CLAIM_SIZE": "10", "LEASE_SECONDS": "5"}
    return {**environment, **{f"NOTIFY_{name}": value for name, value in changes.items()}}


def statuses(harness: WorkerHarness) -> Counter[str]:
    return Counter(status for status, *_ in harness.execute(JOBS))


@pytest.mark.parametrize("signals", [(SIGTERM,), (SIGTERM, SIGTERM)], ids=["once", "twice"])
def test_a_stopping_worker_releases_what_it_has_not_begun_and_finishes_what_it_has(
    harness: WorkerHarness,
    settings: Mapping[str, str],
    relay: ScriptedRelay,
    tmp_path: Path,
    signals: tuple[Signals, ...],
) -> None:
    gate = relay.pause_at("DOT")
    with worker(settings, tmp_path) as running:
        running.wait_until_serving()
        until(lambda: relay.count("DOT") == PROCESSES * SESSIONS, seconds=STOP_SECONDS)
        for signal in signals:
            running.process.send_signal(signal)
        until(lambda: statuses(harness)["sending"] == PROCESSES * SESSIONS, seconds=STOP_SECONDS)
        gate.release()
        assert running.process.wait(STOP_SECONDS) == 0

    arrived = Counter(email.recipient for email in relay.emails)
    assert len(arrived) == PROCESSES * SESSIONS
    assert max(arrived.values()) == 1
    assert statuses(harness) == {"sent": len(arrived), "pending": EMAILS - len(arrived)}
    assert {row[1:] for row in harness.execute(JOBS)} == {(0, 0)}


def test_a_worker_stopped_at_once_strands_nothing(
    harness: WorkerHarness, settings: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path
) -> None:
    gate = relay.pause_at("DOT")
    with worker(settings, tmp_path) as running:
        running.wait_until_serving()
        until(lambda: relay.count("DOT") == PROCESSES * SESSIONS, seconds=STOP_SECONDS)
        running.process.send_signal(SIGQUIT)
        running.process.wait(STOP_SECONDS)
    gate.release()
    begun = relay.count("DOT")

    with worker(settings, tmp_path):
        until(lambda: statuses(harness) == {"sent": EMAILS}, seconds=60)

    arrived = Counter(email.recipient for email in relay.emails)
    assert len(arrived) == EMAILS
    assert arrived.total() - EMAILS <= begun <= PROCESSES * SESSIONS


def test_a_stopping_fan_out_claims_nothing_more(database: Database) -> None:
    with database.begin() as connection:
        receive(connection, [parse(comment(key=f"k{number}", reviewers=["ann"])) for number in range(3)])

    def stop_after_the_first(name: str) -> None:
        if name == FAN_OUT_COMMITTED:
            fan_out.stop()

    handler = FanOut(
        database,
        doorbell=NoDoorbell(),
        message_host="example.com",
        rng=Random(1),
        checkpoint=stop_after_the_first,
    )
    fan_out = BatchStage(
        handler, database, ring=lambda: None, worker=uuid4(), lease=MINUTE, batch=1, at_most=MINUTE, rng=Random(1)
    )

    assert fan_out.drain()["claimed"] == 1

    harness = WorkerHarness(database, None)
    assert harness.execute("SELECT status, count(*) FROM notify.events GROUP BY status ORDER BY status") == [
        ("done", 1),
        ("pending", 2),
    ]
