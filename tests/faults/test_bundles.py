"""Many comments at once on one change list arrive in few emails, in order, despite faults."""

from pathlib import Path

import pytest
import redis

from notify import wiring
from notify.checkpoints import CRASH_AT, EMAIL_ANSWERED, RECORD_WRITTEN
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from tests.support.fault_scenario import FaultScenario
from tests.support.wait import until

TALKERS = ("bob", "carol", "dana")
FORTY = 40
TEN = 10
POINTS = (EMAIL_ANSWERED, pytest.param(RECORD_WRITTEN, marks=pytest.mark.slow))
LEASES_END = """
    UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8
"""
FANNED_OUT = "SELECT event_id FROM notify.notifications WHERE decision = 'told' ORDER BY id"


def test_forty_comments_are_at_most_three_emails_in_order_despite_a_killed_worker(
    scenario: FaultScenario,
) -> None:
    scenario.environment["NOTIFY_BUNDLE_SECONDS"] = "2"
    scenario.producer.add_people(["ann", *TALKERS])
    with scenario.bare_worker(), scenario.bare_worker() as doomed:
        for number in range(FORTY):
            scenario.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
            if number == TEN:
                until(lambda: scenario.relay.emails)
                doomed.kill()
        scenario.until_all_ended()
    assert_forty_in_few_emails(scenario)
    scenario.check(bound=1)


@pytest.mark.slow
def test_forty_comments_are_at_most_three_emails_in_order_despite_killed_workers_and_an_emptied_redis(
    scenario: FaultScenario, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "broker") as server, redis.Redis.from_url(server.url) as broker:
        scenario.environment |= {"NOTIFY_BUNDLE_SECONDS": "5", "NOTIFY_BROKER_URL": server.url}
        scenario.producer.doorbell = wiring.doorbell(Settings(broker_url=server.url))
        scenario.producer.add_people(["ann", *TALKERS])
        with scenario.worker(processes=2) as running:
            for number in range(FORTY):
                scenario.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
                if number == TEN:
                    until(lambda: scenario.relay.emails)
                if number in {TEN, 2 * TEN, 3 * TEN}:
                    broker.flushall()
                    running.kill_one_child()
            scenario.until_all_ended()
    assert_forty_in_few_emails(scenario)
    scenario.check(bound=3)


@pytest.mark.parametrize("point", POINTS)
def test_a_bundle_whose_worker_is_killed_is_sent_again_whole(scenario: FaultScenario, point: str) -> None:
    scenario.producer.add_people(["ann", *TALKERS])
    harness = scenario.harness(bundle_seconds=60)
    for number in range(4):
        scenario.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
        harness.fan_out()
    harness.drain()
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8")
    with scenario.bare_worker({**scenario.environment, CRASH_AT: point}) as doomed:
        doomed.wait_until_dead()
    harness.execute(LEASES_END)
    harness.drain()
    assert scenario.told() == [[1], [2, 3, 4]]
    scenario.check(bound=1)


def assert_forty_in_few_emails(scenario: FaultScenario) -> None:
    """
    Events were fanned out in order, and each email is about consecutive events, in order.

    Emails may overtake each other: one whose worker was killed waits until its lease runs out.
    """
    fanned_out = [event_id for (event_id,) in scenario.harness().execute(FANNED_OUT)]
    assert fanned_out == sorted(fanned_out)
    emails = sorted(scenario.told())
    assert [number for email in emails for number in email] == list(range(1, FORTY + 1))
    assert 1 < len(emails) <= 3
