"""Leases in a worker: renewed while emails are in flight, respected when lost, taken over when they lapse."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Row, func

from notify.domain.claims import Lane
from notify.domain.outcomes import POISON
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.outbox.retry_cancel_replay import Action, act_on
from notify.store.tables.emails import email_jobs, work_items
from tests.support import rows
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import ScriptedRelay
from tests.support.statements import statements
from tests.support.wait import until

ABANDON = """
    UPDATE notify.work_items SET lane = 8, attempt = attempt + 1, due_at = now() - interval '1 second',
        leased_by = gen_random_uuid()
    WHERE stage = 'deliver' AND lane < 9
"""
LEASE_END = "SELECT due_at FROM jobs WHERE username = 'ann'"
COUNTED = "SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY outcome ORDER BY outcome"
EXPIRED_SINCE = "SELECT now() > CAST(:end AS timestamptz) FROM notify.email_jobs LIMIT 1"


def ann_job(harness: WorkerHarness) -> Row[Any]:
    """Ann's email."""
    hers: Row[Any] = next(job for job in harness.jobs() if job.username == "ann")
    return hers


def set_work_item(harness: WorkerHarness, **columns: object) -> None:
    """Set these columns of the work item of Ann's email."""
    rows.change_item(harness.database, DELIVER, ann_job(harness).id, **columns)


def claim_elsewhere(harness: WorkerHarness, **columns: object) -> None:
    """Claim Ann's email as another worker, with this result."""
    set_work_item(harness, attempt=work_items.c.attempt + 1, **columns)


def release_after_a_lapse(harness: WorkerHarness) -> None:
    """One worker vanished with Ann's email, and the next has released it."""
    set_work_item(harness, lane=int(Lane.LAPSED), lapses=1)


def bury(harness: WorkerHarness) -> None:
    """Three workers vanished with Ann's email."""
    set_work_item(harness, lane=int(Lane.DEAD), lapses=3, reason=POISON)
    end_job(harness, lapses=3)


def end_job(harness: WorkerHarness, **columns: object) -> None:
    """Set Ann's email to dead."""
    ending = {"status": "dead", "outcome_reason": POISON, "finished_at": func.now(), **columns}
    rows.change(harness.database, email_jobs, ann_job(harness).id, **ending)


def test_a_lease_is_renewed_for_as_long_as_the_relay_takes(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"lease_seconds": 1})
    other = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        ((first_end,),) = harness.execute(LEASE_END)
        until(lambda: harness.execute(EXPIRED_SINCE, end=first_end) == [(True,)])

        assert other.drain()["claimed"] == 0

        gate.release()
        assert draining.result(60)["sent"] == 1
    assert len(relay.emails) == 1
    assert [(job.status, job.attempt, job.lapses) for job in harness.jobs() if job.to_email] == [("sent", 1, 0)]


def test_an_email_whose_lease_is_lost_is_not_handed_over(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"lease_seconds": 1})
    harness.pending_emails("ann")
    gate = relay.pause_at("RCPT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        claim_elsewhere(harness)
        with statements(database) as sent:
            until(lambda: sum("unnest" in one.sql for one in sent) >= 2)
        gate.release()
        report = draining.result(60)

    assert (report["sent"], report["released"]) == (0, 1)
    assert relay.count("CONTENT") == 0
    assert relay.emails == []
    assert [(job.status, job.attempt) for job in harness.jobs() if job.to_email] == [("sending", 2)]
    assert harness.execute("SELECT outcome, count FROM notify.delivery_stats") == [("lease_lost", 1)]


def test_emails_of_a_vanished_worker_come_due_by_themselves_and_are_sent_one_at_a_time(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(4))
    harness.execute(ABANDON)
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()

        assert relay.count("MAIL") == 1
        assert [job.status for job in harness.jobs() if job.attempt == 2] == ["sending"]

        gate.release()
        assert draining.result(60)["sent"] == 4
    assert {(job.status, job.attempt, job.lapses) for job in harness.jobs() if job.to_email} == {("sent", 2, 1)}
    assert harness.execute(COUNTED) == [("lapse", 4), ("sent", 4)]


@pytest.mark.parametrize("vanish", [release_after_a_lapse, bury], ids=["given back", "retried by hand"])
def test_an_email_that_lapsed_is_sent_alone_however_it_was_released(
    harness: WorkerHarness, relay: ScriptedRelay, vanish: Callable[[WorkerHarness], None]
) -> None:
    harness.pending_emails("ann", "bob", "cy")
    vanish(harness)
    with harness.database.begin() as connection:
        assert act_on(connection, Action.RETRY, ann_job(harness).id)
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()

        assert [job.username for job in harness.jobs() if job.attempt] == ["ann"]

        gate.release()
        assert draining.result(60)["sent"] == 3
    assert harness.execute(COUNTED) == [("sent", 3)]


def test_an_email_that_lapsed_three_times_is_dead_and_costs_its_neighbours_nothing(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails("ann", "bob")
    set_work_item(harness, lane=int(Lane.LAPSED), lapses=2)
    harness.execute(ABANDON)

    report = harness.drain()

    assert (report["sent"], report["dead"]) == (1, 1)
    assert [one.recipient for one in relay.emails] == ["bob@example.com"]
    hers = ann_job(harness)
    assert (hers.status, hers.outcome_reason, hers.lapses) == ("dead", "poison", 3)


def test_a_late_success_is_recorded_over_another_workers_refusal(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        claim_elsewhere(harness, lane=int(Lane.DEAD), reason=POISON)
        end_job(harness, attempts=2)
        gate.release()
        assert draining.result(60)["sent"] == 1

    assert [job.status for job in harness.jobs() if job.to_email] == ["sent"]
    assert harness.execute("SELECT outcome, count FROM notify.delivery_stats") == [("late_success", 1)]
