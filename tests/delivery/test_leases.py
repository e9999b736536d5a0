"""Leases in a worker: renewed while letters are on their way, obeyed when they are lost, taken over when they lapse."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from notify.store import jobs
from notify.store.database import Database
from notify.store.jobs import JobView
from tests.support.office import Office, many
from tests.support.smtp import ScriptedRelay
from tests.support.statements import statements
from tests.support.wait import until

ABANDON = """
    UPDATE notify.email_jobs SET status = 'sending', attempt = attempt + 1, due_at = now() - interval '1 second'
    WHERE due_at IS NOT NULL
"""
THEFT = "UPDATE notify.email_jobs SET attempt = attempt + 1 WHERE username = 'ann'"
LEASE_END = "SELECT due_at FROM notify.email_jobs WHERE username = 'ann'"
COUNTED = "SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY outcome ORDER BY outcome"
GIVEN_BACK = "UPDATE notify.email_jobs SET lapses = 1 WHERE username = 'ann'"
RETRIED_BY_HAND = """
    UPDATE notify.email_jobs SET lapses = 3, status = 'dead', outcome_reason = 'poison', due_at = NULL,
        finished_at = now() WHERE username = 'ann'
"""
EXPIRED_SINCE = "SELECT now() > CAST(:end AS timestamptz) FROM notify.email_jobs LIMIT 1"


def test_a_lease_is_renewed_for_as_long_as_the_relay_takes(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"lease_seconds": 1})
    other = Office(database, relay.url)
    office.letters_wait("ann")
    gate = relay.hold("DOT")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        ((first_end,),) = office.now(LEASE_END)
        until(lambda: office.now(EXPIRED_SINCE, end=first_end) == [(True,)])

        assert other.drain()["claimed"] == 0

        gate.release()
        assert draining.result(60)["sent"] == 1
    assert len(relay.letters) == 1
    assert [(job.status, job.attempt, job.lapses) for job in office.jobs() if job.to_email] == [("sent", 1, 0)]


def test_a_letter_whose_lease_is_lost_is_not_handed_over(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"lease_seconds": 1})
    office.letters_wait("ann")
    gate = relay.hold("RCPT")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        office.now(THEFT)
        with statements(database) as sent:
            until(lambda: sum("unnest" in one.sql for one in sent) >= 2)
        gate.release()
        report = draining.result(60)

    assert (report["sent"], report["released"]) == (0, 1)
    assert relay.count("CONTENT") == 0
    assert relay.letters == []
    assert [(job.status, job.attempt) for job in office.jobs() if job.to_email] == [("sending", 2)]
    assert office.now("SELECT outcome, count FROM notify.delivery_stats") == [("lease_lost", 1)]


def test_letters_of_a_worker_that_vanished_come_due_by_themselves_and_go_one_at_a_time(
    office: Office, relay: ScriptedRelay
) -> None:
    office.letters_wait(*many(4))
    office.now(ABANDON)
    gate = relay.hold("DOT")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()

        assert relay.count("MAIL") == 1
        assert [job.status for job in office.jobs() if job.attempt == 2] == ["sending"]

        gate.release()
        assert draining.result(60)["sent"] == 4
    assert {(job.status, job.attempt, job.lapses) for job in office.jobs() if job.to_email} == {("sent", 2, 1)}
    assert office.now(COUNTED) == [("lapse", 4), ("sent", 4)]


@pytest.mark.parametrize("revive", [GIVEN_BACK, RETRIED_BY_HAND], ids=["given back", "retried by hand"])
def test_a_letter_that_has_lapsed_goes_alone_however_it_came_back(
    office: Office, relay: ScriptedRelay, revive: str
) -> None:
    office.letters_wait("ann", "bob", "cy")
    office.now(revive)
    with office.database.begin() as connection:
        assert jobs.retry(connection, ann(office).id)
    gate = relay.hold("DOT")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()

        assert [job.username for job in office.jobs() if job.attempt] == ["ann"]

        gate.release()
        assert draining.result(60)["sent"] == 3
    assert office.now(COUNTED) == [("sent", 3)]


def ann(office: Office) -> JobView:
    """Her letter."""
    return next(job for job in office.jobs() if job.username == "ann")


def test_a_letter_that_outlives_three_workers_is_dead_and_takes_no_neighbour_along(
    office: Office, relay: ScriptedRelay
) -> None:
    office.letters_wait("ann", "bob")
    office.now("UPDATE notify.email_jobs SET lapses = 2 WHERE username = 'ann'")
    office.now(ABANDON)

    report = office.drain()

    assert (report["sent"], report["dead"]) == (1, 1)
    assert [one.recipient for one in relay.letters] == ["bob@example.com"]
    ann = next(job for job in office.jobs() if job.username == "ann")
    assert (ann.status, ann.outcome_reason, ann.lapses) == ("dead", "poison", 3)


def test_a_late_success_is_recorded_over_another_workers_refusal(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url)
    office.letters_wait("ann")
    gate = relay.hold("DOT")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        office.now(
            """UPDATE notify.email_jobs SET status = 'dead', outcome_reason = 'poison', attempt = attempt + 1,
               due_at = NULL, finished_at = now() WHERE username = 'ann'"""
        )
        gate.release()
        assert draining.result(60)["sent"] == 1

    assert [job.status for job in office.jobs() if job.to_email] == ["sent"]
    assert office.now("SELECT outcome, count FROM notify.delivery_stats") == [("late_success", 1)]
