"""Trouble with PostgreSQL costs time, but no email, no outcome, no worker and no wrong count."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from time import monotonic
from uuid import uuid4

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from notify import wiring
from notify.delivery.engine import Engine
from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import UNAVAILABLE, Database
from notify.store.directory import directory
from notify.work.sweeper import Sweeper
from tests.support.harness import WorkerHarness, comment, usernames
from tests.support.proxy import CommitAfter, Flow, Proxy, database_target, through
from tests.support.race import blocked_session, meanwhile
from tests.support.smtp import Gate, ScriptedRelay
from tests.support.wait import until

STATS = "SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY outcome ORDER BY outcome"
JOBS = "SELECT status, attempt, failures, lapses FROM jobs WHERE to_email IS NOT NULL"
EVENTS = """
    SELECT CASE WHEN lane = 8 THEN 'working' ELSE status END, coalesce(failures, 0)
    FROM notify.events AS event LEFT JOIN notify.work_items AS item ON stage = 'fan_out' AND item.id = event.id
"""
LEASE_END = "SELECT due_at FROM jobs WHERE to_email IS NOT NULL"
LAPSE = "UPDATE notify.work_items SET due_at = now()"
FORBID = """
    ALTER TABLE notify.email_jobs
    ADD CONSTRAINT forbidden CHECK (NOT (username = 'person-0003' AND status = 'sent'))
"""
CLAIM = b"LATERAL"
TERMINATE = text("SELECT pg_terminate_backend(:pid, 10000)")


@pytest.fixture
def line(database_url: str) -> Iterator[Proxy]:
    """A proxy in front of the database."""
    with Proxy(database_target(database_url)) as proxy:
        yield proxy


@pytest.fixture
def far(database: Database, line: Proxy, relay: ScriptedRelay) -> Iterator[WorkerHarness]:
    """A worker whose database is behind the proxy, with ten emails to a claim."""
    distant = Database(through(line, database.url), connect_timeout_seconds=1)
    yield WorkerHarness(distant, relay.url, {"claim_size": 10})
    distant.close()


@pytest.fixture
def impatient(database: Database, line: Proxy, relay: ScriptedRelay) -> Iterator[WorkerHarness]:
    """The same, with a short limit for answers."""
    distant = Database(through(line, database.url), connect_timeout_seconds=2, answer_timeout_seconds=2)
    yield WorkerHarness(distant, relay.url, {"lease_seconds": 6})
    distant.close()


@pytest.fixture
def patient(database: Database, line: Proxy, relay: ScriptedRelay) -> Iterator[WorkerHarness]:
    """The same, with limits for connections and answers that exceed its leases."""
    distant = Database(through(line, database.url), connect_timeout_seconds=40)
    yield WorkerHarness(distant, relay.url, {"lease_seconds": 6})
    distant.close()


@contextmanager
def locked(database: Database, table: str = "email_jobs") -> Iterator[Callable[[], None]]:
    """Block every session that touches this table; the returned function terminates the sessions that were blocked."""

    def terminate() -> None:
        pid = blocked_session(database)
        with database.begin() as other:
            other.execute(TERMINATE, {"pid": pid})

    with database.begin() as connection:
        connection.execute(text(f"LOCK TABLE notify.{table} IN ACCESS EXCLUSIVE MODE"))
        yield terminate


@contextmanager
def away(line: Proxy) -> Iterator[None]:
    """Cut the database off during the block; it must end, or a drain never would."""
    line.refuse()
    try:
        yield
    finally:
        line.heal()


@contextmanager
def sending(engine: Engine, gate: Gate) -> Iterator[None]:
    """Run the block while a drain is stopped at the gate; the drain must then end well."""
    with meanwhile(engine.drain) as draining:
        gate.wait_until_reached()
        yield
    draining.result(0)


def test_outcomes_wait_in_memory_during_a_database_outage_and_are_all_recorded_afterwards(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(30))
    gate = relay.pause_at("DOT")
    with far.engine() as engine:
        with sending(engine, gate), away(line), capture_logs() as logged:
            gate.release()
            relay.wait_for(1)
            until(lambda: any(one["event"] == "outcomes.not_written" for one in logged))
            assert {status for status, *_ in harness.execute(JOBS)} <= {"sending", "pending"}
        arrived = len(relay.emails)
        recorded = sum(status == "sent" for status, *_ in harness.execute(JOBS))
        assert recorded == arrived < 30
        engine.drain()

    assert {(status, failures, lapses) for status, _, failures, lapses in harness.execute(JOBS)} == {("sent", 0, 0)}
    assert len(relay.emails) == 30
    assert harness.execute(STATS) == [("sent", 30)]


def test_a_session_terminated_while_recording_loses_no_outcome(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, sending(engine, gate), locked(harness.database) as terminate:
        gate.release()
        terminate()

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
    assert harness.execute(STATS) == [("sent", 1)]
    assert len(relay.emails) == 1


def test_a_session_terminated_while_renewing_costs_no_lease(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"lease_seconds": 3})
    harness.pending_emails("ann")
    gate = relay.pause_at("RCPT")
    with harness.engine() as engine, sending(engine, gate):
        with locked(database, "work_items") as terminate:
            terminate()
        gate.release()

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
    assert len(relay.emails) == 1


def test_a_session_terminated_while_claiming_loses_no_email(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        with sending(engine, gate):
            harness.pending_emails("bob", key="k2", link="CL-2")
            with locked(harness.database) as terminate:
                following = threads.submit(engine.drain)
                terminate()
            gate.release()
        following.result(60)

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)] * 2
    assert sorted(one.recipient for one in relay.emails) == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize(
    ("reply", "written_by", "verdict", "status", "recorded"),
    [
        ("250 2.1.5 ok", b'{"ann@example.com"}', "sent", "sent", 0),
        ("450 4.7.1 greylisted", b"COMMIT", "retry", "pending", 1),
    ],
)
def test_an_outcome_whose_commit_was_never_acknowledged_counts_once(
    harness: WorkerHarness,
    far: WorkerHarness,
    line: Proxy,
    relay: ScriptedRelay,
    reply: str,
    written_by: bytes,
    verdict: str,
    status: str,
    recorded: int,
) -> None:
    harness.pending_emails("ann")
    relay.answers["RCPT"] = reply
    gate = relay.pause_at("RCPT")
    with far.engine() as engine, sending(engine, gate):
        line.cut_the_reply_to(lambda request: written_by in request)
        gate.release()
        assert line.sprung.wait(60)

    assert harness.execute(STATS) == [(verdict, 1)]
    assert [row[0] for row in harness.execute(JOBS)] == [status]
    assert harness.execute("SELECT count(*) FROM notify.email_attempts") == [(recorded,)]


def test_a_claim_whose_commit_was_never_acknowledged_is_never_counted_as_a_lapse(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann", "bob")
    with far.engine() as engine:
        for _ in range(3):
            line.cut_the_reply_to(CommitAfter(CLAIM))
            assert engine.drain()["claimed"] == 0
            assert line.sprung.is_set()
        engine.drain()

    assert harness.execute(JOBS) == [("sent", 4, 0, 0)] * 2
    assert len(relay.emails) == 2


def test_an_event_whose_claim_was_never_acknowledged_is_never_counted_as_a_lapse(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy
) -> None:
    with harness.database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
        receive(connection, [parse(comment(reviewers=["ann"]))])
    fan_out = wiring.fan_out(far.settings, far.database, doorbell=far.doorbell, worker=uuid4())
    for _ in range(3):
        line.cut_the_reply_to(CommitAfter(CLAIM))
        with pytest.raises(UNAVAILABLE):
            fan_out.drain()
        assert line.sprung.is_set()

    assert fan_out.drain()["told"] == 1
    assert harness.execute("SELECT status FROM notify.events") == [("done",)]


@contextmanager
def mute(line: Proxy) -> Iterator[None]:
    """During the block, the database accepts everything and answers nothing."""
    line.block(*Flow)
    try:
        yield
    except BaseException:
        line.reset()  # whatever is still waiting has waited too long
        raise
    finally:
        line.heal()


def test_an_email_whose_claim_is_never_answered_is_sent_when_the_database_answers_again(
    harness: WorkerHarness, impatient: WorkerHarness, line: Proxy
) -> None:
    harness.pending_emails("ann")
    with impatient.engine() as engine:
        assert engine.is_due()
        with ThreadPoolExecutor(1) as threads, mute(line):
            draining = threads.submit(engine.drain)
            assert isinstance(draining.exception(10), UNAVAILABLE)
        assert engine.drain()["sent"] == 1

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]


def test_a_renewal_that_is_never_answered_does_not_delay_the_next(
    harness: WorkerHarness, patient: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("RCPT")
    with patient.engine() as engine, sending(engine, gate):
        with mute(line), capture_logs() as logged:
            until(lambda: any(one["event"] == "lease.not_renewed" for one in logged))
            line.reset()
        ((first_end,),) = harness.execute(LEASE_END)
        until(lambda: harness.execute(LEASE_END)[0][0] > first_end)
        ((second_end,),) = harness.execute(LEASE_END)
        gate.release()

    assert second_end - patient.settings.lease < first_end
    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
    assert len(relay.emails) == 1


def test_an_outcome_that_is_never_acknowledged_is_written_when_the_database_answers_again(
    harness: WorkerHarness, impatient: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with impatient.engine() as engine, sending(engine, gate), mute(line), capture_logs() as logged:
        gate.release()
        until(lambda: any(one["event"] == "outcomes.not_written" for one in logged))

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
    assert harness.execute(STATS) == [("sent", 1)]
    assert len(relay.emails) == 1


def test_a_commit_that_never_arrived_is_repeated(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with far.engine() as engine, sending(engine, gate):
        line.cut_the_reply_to(lambda request: b"delivery_stats" in request)
        gate.release()
        assert line.sprung.wait(60)

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
    assert harness.execute(STATS) == [("sent", 1)]


def test_outcomes_wait_for_a_free_connection(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    narrow = Database(harness.database.url, pool_size=1, pool_timeout_seconds=0.05)
    gate = relay.pause_at("DOT")
    with WorkerHarness(narrow, relay.url).engine() as engine, sending(engine, gate):
        with narrow.begin(), capture_logs() as logged:
            gate.release()
            until(lambda: any(one["event"] == "outcomes.not_written" for one in logged))
        until(lambda: harness.execute(JOBS) == [("sent", 1, 0, 0)])
    narrow.close()


def test_an_outcome_that_cannot_be_written_does_not_stop_the_others(harness: WorkerHarness) -> None:
    harness.pending_emails(*usernames(8))
    harness.execute(FORBID)
    try:
        harness.drain()
    finally:
        harness.execute("ALTER TABLE notify.email_jobs DROP CONSTRAINT forbidden")

    assert sorted(status for status, *_ in harness.execute(JOBS)) == ["sending"] + ["sent"] * 7


@pytest.mark.parametrize("trouble", [Proxy.refuse, Proxy.reset])
def test_a_worker_resumes_sweeping_when_the_database_comes_back(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy, relay: ScriptedRelay, trouble: Callable[[Proxy], None]
) -> None:
    with far.engine() as engine, capture_logs() as logged:
        sweeper = Sweeper([engine], seconds=0.01, rng=Random(1))
        sweeper.start()
        trouble(line)
        if trouble is Proxy.refuse:
            until(lambda: sum(one["event"] == "sweep.failed" for one in logged) >= 2)
        line.heal()
        harness.pending_emails("ann", "bob")
        relay.wait_for(2)
        sweeper.stop(timeout_seconds=10)

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)] * 2


def test_a_terminated_session_costs_an_event_no_failure(harness: WorkerHarness) -> None:
    with harness.database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
        receive(connection, [parse(comment(reviewers=["ann"]))])
    fan_out = wiring.fan_out(harness.settings, harness.database, doorbell=harness.doorbell, worker=uuid4())

    with locked(harness.database) as terminate, meanwhile(fan_out.drain) as failing:
        terminate()
        assert isinstance(failing.exception(10), UNAVAILABLE)

    assert harness.execute(EVENTS) == [("working", 0)]
    harness.execute(LAPSE)
    assert fan_out.drain()["told"] == 1
    assert harness.execute(EVENTS) == [("done", 0)]


def test_stopping_keeps_to_its_limit_during_a_database_outage(
    harness: WorkerHarness, far: WorkerHarness, line: Proxy, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with far.engine() as engine, sending(engine, gate), away(line):
        gate.release()
        relay.wait_for(1)
        began = monotonic()
        engine.stop(at_most_seconds=0.5)
        assert monotonic() - began < 5

    assert harness.execute(JOBS) == [("sent", 1, 0, 0)]
