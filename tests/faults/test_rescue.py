"""A lapsed email is claimed again while its first worker records an outcome, in every order: one has the row."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.support.fault_scenario import LEASES_END, FaultScenario
from tests.support.smtp import DOT, TIMEOUT_SECONDS, ClientLine, ScriptedRelay
from tests.support.wait import until

SENT = "SELECT count(*) FROM notify.email_jobs WHERE status = 'sent'"


class InTurn:
    """Answers final dots in a chosen order of connections."""

    def __init__(self, relay: ScriptedRelay) -> None:
        self._turns = {connection: Event() for connection in (1, 2)}
        relay.answers[DOT] = self._wait

    def answer(self, connection: int) -> None:
        self._turns[connection].set()

    def _wait(self, said: ClientLine) -> None:
        assert self._turns[said.connection].wait(TIMEOUT_SECONDS)


def test_an_outcome_recorded_after_the_lease_but_before_the_next_claim_counts(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    turns = InTurn(relay)
    harness = scenario.harness(lease_seconds=600)
    scenario.emit("ann")
    harness.fan_out()
    with harness.engine() as late, harness.engine() as rescuer, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(late.drain)
        relay.wait_until(lambda: relay.count(DOT) == 1)
        harness.execute(LEASES_END)
        turns.answer(1)
        assert draining.result(TIMEOUT_SECONDS)["sent"] == 1
        assert rescuer.drain()["claimed"] == 0

    assert scenario.check().repeated == 0
    assert scenario.tables().outcomes == {"sent": 1}


@pytest.mark.parametrize(
    ("order", "outcomes"),
    [((1, 2), {"late_success": 1, "duplicate_sent": 1}), ((2, 1), {"sent": 1, "duplicate_sent": 1})],
    ids=["the late one first", "the rescuer first"],
)
def test_an_email_accepted_twice_in_either_order_is_sent_and_counted_twice(
    scenario: FaultScenario, relay: ScriptedRelay, order: tuple[int, int], outcomes: dict[str, int]
) -> None:
    turns = InTurn(relay)
    harness = scenario.harness(lease_seconds=600)
    scenario.emit("ann")
    harness.fan_out()
    with harness.engine() as late, harness.engine() as rescuer, ThreadPoolExecutor(2) as threads:
        draining = [threads.submit(late.drain)]
        relay.wait_until(lambda: relay.count(DOT) == 1)
        harness.execute(LEASES_END)
        draining.append(threads.submit(rescuer.drain))
        relay.wait_until(lambda: relay.count(DOT) == 2)
        turns.answer(order[0])
        until(lambda: harness.execute(SENT) == [(1,)])
        turns.answer(order[1])
        assert [one.result(TIMEOUT_SECONDS)["sent"] for one in draining] == [1, 1]

    assert scenario.check(bound=1).repeated == 1
    assert scenario.tables().attempt_outcomes == outcomes
