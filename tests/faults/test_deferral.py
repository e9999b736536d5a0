"""A digest arrives once and whole, whatever happens to the workers and the broker meanwhile."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from notify.checkpoints import CRASH_AT, EMAIL_ANSWERED, EMAIL_CLAIMED, FAN_OUT_WRITTEN, RECORD_WRITTEN
from notify.domain.preferences import Person
from notify.intake.save_preferences import save_preferences
from notify.store.directory import directory
from notify.store.directory.preferences import StoredSettings
from tests.support.fault_scenario import FaultScenario
from tests.support.wait import until

BERLIN = ZoneInfo("Europe/Berlin")
COUNT = 6
POINTS = (
    EMAIL_CLAIMED,
    EMAIL_ANSWERED,
    pytest.param(RECORD_WRITTEN, marks=pytest.mark.slow),
)
ITS_HOUR_COMES = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8"
LEASES_END = """
    UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8
"""


@pytest.fixture
def scenario(scenario: FaultScenario) -> FaultScenario:
    """Ann wants a daily digest in Berlin, and bob comments on her change lists."""
    scenario.producer.add_people(["ann", "bob"])
    with scenario.database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com", timezone="Europe/Berlin"))
        save_preferences(
            connection, "ann", settings=StoredSettings(delivery_mode="daily", digest_hour=9), event_types={}
        )
    return scenario


def talk(scenario: FaultScenario) -> None:
    """Let bob comment on COUNT change lists."""
    for number in range(COUNT):
        scenario.producer.emit("ann", on=f"CL-{number}", by="bob")


@pytest.mark.parametrize("point", POINTS)
def test_a_digest_whose_worker_is_killed_arrives_whole_and_as_one_email(scenario: FaultScenario, point: str) -> None:
    harness = scenario.harness()
    talk(scenario)
    harness.fan_out()
    harness.execute(ITS_HOUR_COMES)
    with scenario.bare_worker({**scenario.environment, CRASH_AT: point}) as doomed:
        doomed.wait_until_dead()
    harness.execute(LEASES_END)
    harness.drain()
    assert scenario.told() == [list(range(1, COUNT + 1))]
    scenario.check(bound=1)


def test_a_worker_killed_while_it_writes_a_digest_loses_no_notification(scenario: FaultScenario) -> None:
    harness = scenario.harness()
    talk(scenario)
    with scenario.bare_worker({**scenario.environment, CRASH_AT: FAN_OUT_WRITTEN}) as doomed:
        doomed.wait_until_dead()
    harness.execute("UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8")
    harness.fan_out()
    harness.execute(ITS_HOUR_COMES)
    harness.drain()
    assert scenario.told() == [list(range(1, COUNT + 1))]
    scenario.check()


def test_many_workers_without_a_broker_send_a_digest_once_at_its_hour(scenario: FaultScenario) -> None:
    with scenario.bare_worker(), scenario.bare_worker():
        talk(scenario)
        harness = scenario.harness()
        until_fanned_out(scenario)
        (row,) = harness.execute("SELECT due_at FROM jobs WHERE status = 'pending' LIMIT 1")
        there = row.due_at.astimezone(BERLIN)
        assert (there.hour, there.minute) == (9, 0)
        assert scenario.told() == []
        assert row.due_at > datetime.now(UTC)
        harness.execute(ITS_HOUR_COMES)
        scenario.until_all_ended()
    assert [sorted(one) for one in scenario.told()] == [list(range(1, COUNT + 1))]
    scenario.check()


def until_fanned_out(scenario: FaultScenario) -> None:
    """Return when every event has its notification."""
    told = "SELECT count(*) FROM notify.notifications WHERE username = 'ann'"
    until(lambda: scenario.harness().execute(told) == [(COUNT,)])
