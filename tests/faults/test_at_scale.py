"""Thousands of emails under lasting trouble: slow, and the closest to a bad day."""

from collections import Counter
from contextlib import ExitStack
from itertools import cycle

import pytest

from notify.delivery.recorder import MOST_ROWS
from tests.support.fault_scenario import TIME_PASSES, FaultScenario, still_open
from tests.support.harness import usernames
from tests.support.proxy import Proxy
from tests.support.smtp import GREETING, ScriptedRelay
from tests.support.wait import until

pytestmark = pytest.mark.slow

PEOPLE = usernames(200)
WORKERS = 8
SESSIONS = 4
KILLS = 30
FAR_SECONDS = 0.02
OPENS_AFTER = 5
WINDOWS_BEGUN = 3
ANY_ATTEMPT = "SELECT max(attempt) FROM jobs"
OUT_FOR_SO_LONG = "SELECT now() - max(changed_at) > interval '20 seconds' FROM notify.endpoints WHERE state = 'open'"


def test_no_email_of_twenty_thousand_is_lost_when_a_process_is_killed_every_second(
    scenario: FaultScenario, relay: ScriptedRelay, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        line = stack.enter_context(Proxy(("127.0.0.1", relay.port)))
        line.delay(FAR_SECONDS)
        settings = {"smtp_url": line.smtp_url, "lease_seconds": "3", "smtp_sessions": str(SESSIONS)}
        fleet = [stack.enter_context(scenario.worker(processes=1, **settings)) for _ in range(WORKERS)]
        wait_in_the_table(scenario, events=100)
        victims = cycle(fleet)
        kills = 0
        while kills < KILLS and still_open(scenario.database):
            next(victims).kill_one_child()
            kills += 1
            pass_a_second(scenario)
        scenario.until_all_ended(seconds=300)

    figures = scenario.check(bound=kills * (SESSIONS + MOST_ROWS))
    with capsys.disabled():
        print(f"\n{kills} kills: {figures}")  # noqa: T201 - the figures are what the test is for
    assert figures.owed == 20_000
    assert kills > KILLS / 2
    assert statuses(scenario) == {"sent": 20_000}


def test_an_outage_with_fifty_thousand_pending_emails_costs_no_attempt_and_one_probe_per_interval(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    wait_in_the_table(scenario, events=250)
    relay.answers[GREETING] = "421 4.3.2 down for maintenance"
    with ExitStack() as stack:
        for _ in range(WORKERS):
            stack.enter_context(scenario.worker(processes=1, lease_seconds="30"))
        until(lambda: scenario.harness().execute(OUT_FOR_SO_LONG) == [(True,)], seconds=60)
        assert scenario.harness().execute(ANY_ATTEMPT) == [(0,)]
        assert relay.count(GREETING) <= OPENS_AFTER + WORKERS + WINDOWS_BEGUN

        relay.answers.clear()
        scenario.harness().execute(TIME_PASSES)
        scenario.until_all_ended(seconds=400)

    assert scenario.check().repeated == 0
    assert statuses(scenario) == {"sent": 50_000}


def wait_in_the_table(scenario: FaultScenario, *, events: int) -> None:
    """Emit events that concern everybody, and fan them out."""
    scenario.producer.add_people(PEOPLE)
    for _ in range(events):
        scenario.producer.emit(*PEOPLE)
    scenario.harness().fan_out()


def pass_a_second(scenario: FaultScenario) -> None:
    """Wait a second on the database's clock."""
    ((began,),) = scenario.harness().execute("SELECT now()")
    until(lambda: scenario.harness().execute("SELECT now() > :at + interval '1 second'", at=began) == [(True,)])


def statuses(scenario: FaultScenario) -> Counter[str]:
    """How many emails have each status."""
    return Counter(row.status for row in scenario.tables().emails)
