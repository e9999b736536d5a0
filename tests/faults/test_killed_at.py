"""A worker process that dies between any two steps loses nothing, and repeats an email only where it must."""

import pytest

from notify import checkpoints
from notify.checkpoints import CRASH_AT
from tests.support.proxy import Flow, Proxy
from tests.support.scene import Scene
from tests.support.smtp import CONTENT, DATA, DOT, MAIL, RCPT, ScriptedRelay

KILLED = -9
TAKEN_BUT_NOT_RECORDED = {checkpoints.EMAIL_ANSWERED, checkpoints.RECORD_WRITTEN}
SOME_BYTES_OF_A_LETTER = 700


@pytest.mark.parametrize("point", checkpoints.NAMES)
def test_a_process_that_dies_between_two_steps_repeats_an_email_only_if_it_was_taken_and_not_recorded(
    scene: Scene, point: str
) -> None:
    scene.emit("ann")
    with scene.loner({**scene.environment, CRASH_AT: point}) as doomed:
        assert doomed.wait_until_dead() == KILLED

    scene.rescue()

    repeats = int(point in TAKEN_BUT_NOT_RECORDED)
    assert scene.check(bound=repeats).repeated == repeats
    assert scene.tables().verdicts == {"sent": 1}


@pytest.mark.parametrize(("step", "repeats"), [(MAIL, 0), (RCPT, 0), (DATA, 0), (CONTENT, 1), (DOT, 1)])
def test_a_process_that_dies_in_the_conversation_repeats_an_email_only_if_all_of_it_was_said(
    scene: Scene, relay: ScriptedRelay, step: str, repeats: int
) -> None:
    gate = relay.hold(step)
    scene.emit("ann")
    with scene.loner() as doomed:
        gate.wait_until_reached()
        doomed.kill()
    gate.release()

    scene.rescue()

    assert scene.check(bound=repeats).repeated == repeats


def test_an_email_that_is_cut_off_within_its_content_arrives_once(scene: Scene, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as proxy:
        proxy.let_through(Flow.TO_SERVER, at_most=SOME_BYTES_OF_A_LETTER)
        scene.emit("ann")
        with scene.loner(smtp_url=proxy.smtp_url) as doomed:
            relay.wait_until(lambda: CONTENT in {one.step for one in relay.journal.said})
            doomed.kill()

    scene.rescue()

    assert scene.check().repeated == 0
