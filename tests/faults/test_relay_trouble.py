"""A relay may refuse, stall, hang up, talk nonsense or lose its own answer: emails wait, and none is lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from notify.store.outbox.retry_cancel_replay import Action, act_on
from tests.support.fault_scenario import FaultScenario
from tests.support.harness import usernames
from tests.support.proxy import Flow, Proxy
from tests.support.smtp import (
    AUTH,
    CONTENT,
    DATA,
    DOT,
    EHLO,
    GREETING,
    MAIL,
    RCPT,
    Certificate,
    Received,
    ScriptedRelay,
)
from tests.support.wire import message_id

STEPS = (GREETING, EHLO, MAIL, RCPT, DATA, DOT)
PEOPLE = usernames(3)
SHORT_SECONDS = 0.3


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("reply", ["421 4.3.2 shutting down", "nonsense", "999 9.9.9 nonsense"])
def test_a_wrong_answer_at_any_step_loses_and_repeats_nothing(
    scenario: FaultScenario, relay: ScriptedRelay, step: str, reply: str
) -> None:
    relay.answers[step] = reply
    scenario.emit(*PEOPLE)
    scenario.drain()
    assert relay.emails == []

    relay.answers.clear()
    scenario.drain()

    assert scenario.check().repeated == 0
    assert step == DOT or failures(scenario) == {0}


@pytest.mark.parametrize("step", [*STEPS, CONTENT])
def test_a_relay_that_hangs_up_at_any_step_gets_an_email_again_only_if_it_had_all_of_it(
    scenario: FaultScenario, relay: ScriptedRelay, step: str
) -> None:
    relay.drop_at.add(step)
    scenario.emit(*PEOPLE)
    scenario.drain()
    had = len(relay.emails)

    relay.drop_at.clear()
    scenario.drain()

    assert had == (len(PEOPLE) if step == DOT else 0)
    assert scenario.check(bound=had).repeated == had
    assert failures(scenario) == ({1} if step in {CONTENT, DOT} else {0})


@pytest.mark.parametrize("step", [*STEPS, CONTENT])
def test_a_relay_that_goes_silent_at_any_step_loses_nothing(
    scenario: FaultScenario, relay: ScriptedRelay, step: str
) -> None:
    relay.silent_at.add(step)
    scenario.emit(*PEOPLE)
    scenario.drain(smtp_timeout_seconds=SHORT_SECONDS)
    had = len(relay.emails)

    relay.silent_at.clear()
    scenario.drain()

    assert scenario.check(bound=had).repeated == had == (len(PEOPLE) if step == DOT else 0)


def test_an_acceptance_after_our_timeout_repeats_the_email_under_its_own_message_id(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    late = relay.pause_at(DOT)
    scenario.emit("ann")
    scenario.drain(smtp_timeout_seconds=SHORT_SECONDS)
    late.release()
    relay.wait_for(1)
    scenario.drain()

    assert scenario.check(bound=1).repeated == 1
    assert len({message_id(one.content) for one in relay.emails}) == 1


def test_a_greeting_that_comes_too_late_costs_no_email_an_attempt(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    late = relay.pause_at(GREETING)
    scenario.emit(*PEOPLE)
    scenario.drain(smtp_timeout_seconds=SHORT_SECONDS)
    assert attempts(scenario) == {0}

    late.release()
    scenario.drain()

    assert scenario.check().repeated == 0


def test_an_unreachable_relay_costs_no_email_an_attempt(scenario: FaultScenario, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.refuse()
        scenario.emit(*PEOPLE)
        for _ in range(7):
            scenario.drain(smtp_url=line.smtp_url)
        assert attempts(scenario) == {0}

        line.heal()
        scenario.drain(smtp_url=line.smtp_url)

    assert scenario.check().repeated == 0


@pytest.mark.parametrize("flow", list(Flow))
def test_a_half_open_connection_loses_and_repeats_nothing_before_the_content(
    scenario: FaultScenario, relay: ScriptedRelay, flow: Flow
) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.block(flow)
        scenario.emit(*PEOPLE)
        scenario.drain(smtp_url=line.smtp_url, smtp_timeout_seconds=SHORT_SECONDS)
        assert attempts(scenario) == {0}

        line.heal()
        scenario.drain(smtp_url=line.smtp_url)

    assert scenario.check().repeated == 0


def test_a_slow_connection_delivers_everything_once(scenario: FaultScenario, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.delay(0.05)
        scenario.emit(*PEOPLE)
        scenario.drain(smtp_url=line.smtp_url)

    assert scenario.check().repeated == 0


def test_an_acceptance_lost_on_the_way_repeats_that_email_and_nothing_else(
    scenario: FaultScenario, relay: ScriptedRelay
) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.cut_the_reply_to(lambda said: said.endswith(b"\r\n.\r\n"))
        scenario.emit(*PEOPLE)
        scenario.drain(smtp_url=line.smtp_url)
        assert line.sprung.is_set()
        scenario.drain(smtp_url=line.smtp_url)

    assert scenario.check(bound=1).repeated == 1


def test_a_wrong_password_kills_no_email(
    scenario: FaultScenario, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.certificate = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(relay.certificate.file))
    relay.credentials = ("notify", "right")
    url = relay.url.replace("//", "//notify:{}@") + "?starttls=required"
    scenario.emit(*PEOPLE)
    scenario.drain(smtp_url=url.format("wrong"))
    assert relay.count(AUTH)
    assert {row.status for row in scenario.tables().emails} == {"pending"}
    assert attempts(scenario) == {0}

    scenario.drain(smtp_url=url.format("right"))

    assert scenario.check().repeated == 0


def test_an_email_cancelled_while_it_is_sent_is_recorded_as_sent(scenario: FaultScenario, relay: ScriptedRelay) -> None:
    on_its_way = relay.pause_at(DOT)
    scenario.emit("ann")
    with ThreadPoolExecutor(1) as threads:
        draining = threads.submit(scenario.drain)
        on_its_way.wait_until_reached()
        with scenario.database.begin() as connection:
            assert act_on(connection, Action.CANCEL, email_id(scenario))
        on_its_way.release()
        draining.result()

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"late_success": 1}
    assert [row.status for row in scenario.tables().emails] == ["sent"]


def test_an_email_cannot_be_replayed_while_it_is_sent(scenario: FaultScenario, relay: ScriptedRelay) -> None:
    on_its_way = relay.pause_at(DOT)
    scenario.emit("ann")
    with ThreadPoolExecutor(1) as threads:
        draining = threads.submit(scenario.drain)
        on_its_way.wait_until_reached()
        assert replayed(scenario) is None
        on_its_way.release()
        draining.result()
    assert replayed(scenario) is not None

    scenario.drain()

    assert scenario.check().repeated == 0
    assert len(names(relay.emails)) == len(relay.emails) == 2


def email_id(scenario: FaultScenario) -> int:
    """The id of the only job."""
    ((number,),) = scenario.harness().execute("SELECT id FROM notify.email_jobs")
    return int(number)


def replayed(scenario: FaultScenario) -> int | None:
    """The id of a replay of the only job; null if it may not be replayed."""
    with scenario.database.begin() as connection:
        return act_on(connection, Action.REPLAY, email_id(scenario))


def failures(scenario: FaultScenario) -> set[int]:
    """The failures of all emails."""
    return {row.failures for row in scenario.tables().emails}


def attempts(scenario: FaultScenario) -> set[int]:
    """The attempts of all emails."""
    rows = scenario.harness().execute("SELECT attempt FROM jobs WHERE status <> 'skipped'")
    return {attempt for (attempt,) in rows}


def names(emails: list[Received]) -> set[str]:
    """The Message-IDs of these emails."""
    return {message_id(one.content) for one in emails}
