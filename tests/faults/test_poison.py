"""An email that kills its worker every time ends by itself, and harms no other email."""

from tests.support.fault_scenario import FaultScenario
from tests.support.harness import usernames
from tests.support.kill_sender import kill_sender_of
from tests.support.producer import address
from tests.support.smtp import RCPT, ClientLine, ScriptedRelay

NEIGHBOURS = usernames(6)


def test_an_email_that_kills_its_worker_is_dead_after_three_attempts_and_its_neighbours_arrive(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    killed: list[int] = []

    def kill(said: ClientLine) -> None:
        if f"<{address('mallory')}>" in said.line:
            killed.append(kill_sender_of(relay, said))

    relay.answers[RCPT] = kill
    with scenario.worker(processes=2):
        scenario.emit("first")
        scenario.until_all_ended()
        scenario.emit(*NEIGHBOURS[:3], "mallory", *NEIGHBOURS[3:])
        scenario.until_all_ended(seconds=90)

    scenario.check(bound=len(NEIGHBOURS), unsent=1)
    assert len(set(killed)) == 3
    assert {one.recipient for one in relay.emails} == {address(name) for name in ("first", *NEIGHBOURS)}
    ((status, reason, lapses, failures),) = scenario.harness().execute(
        "SELECT status, outcome_reason, lapses, failures FROM jobs WHERE username = 'mallory'"
    )
    assert (status, reason, lapses, failures) == ("dead", "poison", 3, 0)
