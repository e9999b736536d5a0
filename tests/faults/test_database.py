"""The database goes away at the worst moments: outcomes wait, nothing is lost, and nothing is counted twice."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.fault_scenario import FaultScenario
from tests.support.proxy import CommitAfter, Flow, Proxy, database_target, through
from tests.support.smtp import DOT, ScriptedRelay
from tests.support.wait import until

TWO_LEASES_LATER = "SELECT now() > max(created_at) + interval '4 seconds' FROM notify.email_jobs"


@pytest.fixture
def line(scenario: FaultScenario) -> Iterator[Proxy]:
    """A proxy between workers and the database; the test connects directly."""
    url = scenario.environment["NOTIFY_DATABASE_URL"]
    with Proxy(database_target(url)) as proxy:
        scenario.environment["NOTIFY_DATABASE_URL"] = through(proxy, url)
        yield proxy


@pytest.mark.slow
def test_an_email_whose_recorded_outcome_was_not_acknowledged_is_counted_once(
    scenario: FaultScenario, line: Proxy
) -> None:
    line.cut_the_reply_to(CommitAfter(b"delivery_stats"))
    with scenario.bare_worker():
        scenario.emit("ann")
        scenario.until_all_ended()
        assert line.sprung.wait(60)

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"sent": 1}


def test_an_event_whose_fan_out_was_not_acknowledged_notifies_nobody_twice(
    scenario: FaultScenario, line: Proxy
) -> None:
    line.cut_the_reply_to(CommitAfter(b"INTO notify.email_jobs"))
    with scenario.bare_worker():
        scenario.emit("ann", "bob")
        scenario.until_all_ended()
        assert line.sprung.wait(60)

    assert scenario.check().repeated == 0


@pytest.mark.parametrize(
    "cut", [Proxy.reset, Proxy.refuse, lambda line: line.block(*Flow)], ids=["reset", "gone", "black hole"]
)
def test_an_outcome_waits_out_a_database_outage_and_no_email_is_repeated(
    scenario: FaultScenario, relay: ScriptedRelay, line: Proxy, cut: Callable[[Proxy], None]
) -> None:
    on_its_way = relay.pause_at(DOT)
    with scenario.bare_worker():
        scenario.emit("ann")
        on_its_way.wait_until_reached()
        cut(line)
        on_its_way.release()
        until(lambda: scenario.harness().execute(TWO_LEASES_LATER) == [(True,)])
        line.heal()
        line.reset()
        scenario.until_all_ended(seconds=90)

    assert scenario.check().repeated == 0
