"""When a relay dies during a drain, the next takes over, although workers are killed: nothing is lost."""

from collections.abc import Iterator

import pytest

from notify.delivery.recorder import MOST_ROWS
from tests.support.fault_scenario import FaultScenario, still_open
from tests.support.harness import usernames
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

EVENTS, PEOPLE = 40, 20
EMAILS = EVENTS * PEOPLE
SESSIONS = 8
PROCESSES = 2
CLOSED = "421 4.3.2 going down"
REFUSED_ONES_COME_BACK = """
    UPDATE notify.work_items SET due_at = now()
    WHERE stage = 'deliver' AND lane < 8 AND due_at > now() + interval '10 seconds'
"""


@pytest.fixture
def second() -> Iterator[ScriptedRelay]:
    """The fallback relay."""
    with ScriptedRelay() as scripted:
        yield scripted


@pytest.mark.slow
def test_no_email_is_lost_when_a_relay_dies_and_then_a_worker_is_killed(
    scenario: FaultScenario, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = lambda _: CLOSED if len(relay.emails) >= EMAILS // 4 else None
    relay.answers["MAIL"] = lambda _: CLOSED if len(relay.emails) >= EMAILS // 4 else None
    people = usernames(PEOPLE)
    scenario.producer.add_people(people)
    for _ in range(EVENTS):
        scenario.producer.emit(*people)
    changes = {"smtp_fallback_urls": second.url, "smtp_sessions": str(SESSIONS), "bundle_seconds": "0"}

    with scenario.worker(processes=PROCESSES, **changes) as running:
        relay.wait_for(EMAILS // 4)
        relay.hang_up()
        second.wait_for(EMAILS // 4)
        running.kill_one_child()
        until(lambda: all_ended(scenario), seconds=90)

    figures = scenario.check(second, bound=PROCESSES * SESSIONS + SESSIONS + MOST_ROWS)
    assert len(relay.emails) >= EMAILS // 4
    assert len(relay.emails) + len(second.emails) == EMAILS + figures.repeated
    assert figures.lost == 0


def all_ended(scenario: FaultScenario) -> bool:
    """Whether every row has ended; makes waiting retries due."""
    scenario.harness().execute(REFUSED_ONES_COME_BACK)
    return still_open(scenario.database) == 0
