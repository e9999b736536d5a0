"""A worker process that is frozen for longer than its lease, and then continues as if nothing had happened."""

import pytest

from tests.support.fault_scenario import LEASE_SECONDS, FaultScenario
from tests.support.smtp import DOT, RCPT, ScriptedRelay
from tests.support.wait import until

RECORDED = "SELECT sum(count)::int FROM notify.delivery_stats WHERE outcome IN ('duplicate_sent', 'lease_lost')"
THREE_LEASES_LATER = """
    SELECT now() > max(finished_at) + :lease * interval '2 seconds' FROM notify.email_jobs WHERE status = 'sent'
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "outcome", "repeats"),
    [(RCPT, "lease_lost", 0), (DOT, "duplicate_sent", 1)],
    ids=["before the content", "after the final dot"],
)
def test_a_process_frozen_for_three_leases_neither_sends_late_nor_undoes_another_workers_outcome(
    scenario: FaultScenario, relay: ScriptedRelay, step: str, outcome: str, repeats: int
) -> None:
    on_its_way = relay.pause_at(step)
    scenario.emit("ann")
    with scenario.bare_worker() as sleeper:
        on_its_way.wait_until_reached()
        sleeper.freeze()
        on_its_way.release()
        with scenario.bare_worker():
            scenario.until_all_ended()
        until(lambda: scenario.harness().execute(THREE_LEASES_LATER, lease=LEASE_SECONDS) == [(True,)])
        sleeper.thaw()
        until(lambda: scenario.harness().execute(RECORDED) == [(1,)])

    assert scenario.check(bound=repeats).repeated == repeats
    assert scenario.tables().attempt_outcomes == {"sent": 1, outcome: 1}
