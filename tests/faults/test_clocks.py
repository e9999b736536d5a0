"""The clocks of worker machines may be wrong by an hour; only the database's counts."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.support.fault_scenario import FaultScenario
from tests.support.skew import skewed
from tests.support.smtp import DOT, ScriptedRelay
from tests.support.wait import until
from tests.support.wire import header

HOUR = timedelta(hours=1)
LEASE_SECONDS = 10  # the frozen worker must keep its lease while the other starts
A_LEASE_LATER = "SELECT now() > max(created_at) + :seconds * interval '1 second' FROM notify.email_jobs"


@pytest.mark.slow
def test_workers_whose_clocks_are_an_hour_wrong_keep_and_lose_their_leases_like_others(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    scenario.environment["NOTIFY_LEASE_SECONDS"] = str(LEASE_SECONDS)
    on_their_way = relay.pause_at(DOT)
    with scenario.bare_worker(skewed(scenario.environment, HOUR)) as ahead:
        scenario.emit("ann")
        relay.wait_until(lambda: relay.count(DOT) == 1)
        ahead.freeze()  # so that the other worker takes bob's email
        with scenario.bare_worker(skewed(scenario.environment, -HOUR)):
            scenario.emit("bob")
            relay.wait_until(lambda: relay.count(DOT) == 2)
            ahead.thaw()
            with scenario.bare_worker():
                until(lambda: scenario.harness().execute(A_LEASE_LATER, seconds=1.2 * LEASE_SECONDS) == [(True,)])
                assert relay.count(DOT) == 2
                ahead.kill()
                on_their_way.release()
                scenario.until_all_ended()

    assert scenario.check(bound=2).repeated
    assert hours_off(relay) >= {1, -1}


def test_a_lease_taken_under_a_clock_an_hour_behind_has_its_full_length(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    scenario.environment["NOTIFY_LEASE_SECONDS"] = "60"  # so that no renewal repairs what the claim has done
    on_their_way = relay.pause_at(DOT)
    with scenario.bare_worker(skewed(scenario.environment, -HOUR)) as behind:
        scenario.emit("ann")
        relay.wait_until(lambda: relay.count(DOT) == 1)
        behind.freeze()  # so that the other worker takes bob's email; it looks for lapsed ones first
        with scenario.bare_worker():
            scenario.emit("bob")
            relay.wait_until(lambda: relay.count(DOT) == 2)
            behind.thaw()
            on_their_way.release()
            scenario.until_all_ended()

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"sent": 2}


def hours_off(relay: ScriptedRelay) -> set[int]:
    """By how many hours the emails' dates are wrong."""
    now = datetime.now(UTC)
    return {round((parsedate_to_datetime(header(one.content, "Date")) - now) / HOUR) for one in relay.emails}
