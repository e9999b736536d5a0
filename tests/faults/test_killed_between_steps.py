"""A worker process that dies between any two steps loses nothing, and repeats an email only where it must."""

import pytest

from notify import checkpoints
from notify.checkpoints import CRASH_AT
from tests.support.fault_scenario import FaultScenario
from tests.support.proxy import Flow, Proxy
from tests.support.smtp import CONTENT, DATA, DOT, MAIL, RCPT, ScriptedRelay

KILLED = -9
TAKEN_BUT_NOT_RECORDED = {checkpoints.EMAIL_ANSWERED, checkpoints.RECORD_WRITTEN}
SOME_BYTES_OF_AN_EMAIL = 700


@pytest.mark.parametrize("point", checkpoints.OF_EMAILS)
def test_a_process_killed_between_two_steps_repeats_only_an_accepted_and_unrecorded_email(
    scenario: FaultScenario, point: str
) -> None:
    scenario.emit("ann")
    with scenario.bare_worker({**scenario.environment, CRASH_AT: point}) as doomed:
        assert doomed.wait_until_dead() == KILLED

    scenario.rescue()

    repeats = int(point in TAKEN_BUT_NOT_RECORDED)
    assert scenario.check(bound=repeats).repeated == repeats
    assert scenario.tables().attempt_outcomes == {"sent": 1}


@pytest.mark.parametrize(("step", "repeats"), [(MAIL, 0), (RCPT, 0), (DATA, 0), (CONTENT, 1), (DOT, 1)])
def test_a_process_killed_during_the_smtp_conversation_repeats_only_an_email_sent_in_full(
    scenario: FaultScenario, relay: ScriptedRelay, step: str, repeats: int
) -> None:
    gate = relay.pause_at(step)
    scenario.emit("ann")
    with scenario.bare_worker() as doomed:
        gate.wait_until_reached()
        doomed.kill()
    gate.release()

    scenario.rescue()

    assert scenario.check(bound=repeats).repeated == repeats


def test_an_email_cut_off_within_its_content_arrives_once(scenario: FaultScenario, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as proxy:
        proxy.let_through(Flow.TO_SERVER, at_most=SOME_BYTES_OF_AN_EMAIL)
        scenario.emit("ann")
        with scenario.bare_worker(smtp_url=proxy.smtp_url) as doomed:
            relay.wait_until(lambda: CONTENT in {one.step for one in relay.journal.said})
            doomed.kill()

    scenario.rescue()

    assert scenario.check().repeated == 0
