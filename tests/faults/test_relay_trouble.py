"""A relay may refuse, stall, hang up, talk nonsense or lose its own answer: emails wait, and none is lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from notify.store.outbox.by_hand import Action, act_on
from tests.support.office import many
from tests.support.proxy import Flow, Proxy
from tests.support.scene import Scene
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
PEOPLE = many(3)
SHORT_SECONDS = 0.3


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("reply", ["421 4.3.2 shutting down", "nonsense", "999 9.9.9 nonsense"])
def test_a_wrong_answer_at_any_step_loses_and_repeats_nothing(
    scene: Scene, relay: ScriptedRelay, step: str, reply: str
) -> None:
    relay.answers[step] = reply
    scene.emit(*PEOPLE)
    scene.drain()
    assert relay.letters == []

    relay.answers.clear()
    scene.drain()

    assert scene.check().repeated == 0
    assert step == DOT or failures(scene) == {0}


@pytest.mark.parametrize("step", [*STEPS, CONTENT])
def test_a_relay_that_hangs_up_at_any_step_gets_an_email_again_only_after_it_had_all_of_it(
    scene: Scene, relay: ScriptedRelay, step: str
) -> None:
    relay.drop_at.add(step)
    scene.emit(*PEOPLE)
    scene.drain()
    had = len(relay.letters)

    relay.drop_at.clear()
    scene.drain()

    assert had == (len(PEOPLE) if step == DOT else 0)
    assert scene.check(bound=had).repeated == had
    assert failures(scene) == ({1} if step in {CONTENT, DOT} else {0})


@pytest.mark.parametrize("step", [*STEPS, CONTENT])
def test_a_relay_that_falls_silent_at_any_step_loses_nothing(scene: Scene, relay: ScriptedRelay, step: str) -> None:
    relay.silent_at.add(step)
    scene.emit(*PEOPLE)
    scene.drain(smtp_timeout_seconds=SHORT_SECONDS)
    had = len(relay.letters)

    relay.silent_at.clear()
    scene.drain()

    assert scene.check(bound=had).repeated == had == (len(PEOPLE) if step == DOT else 0)


def test_a_yes_that_comes_after_our_patience_repeats_the_email_under_its_own_name(
    scene: Scene, relay: ScriptedRelay
) -> None:
    late = relay.hold(DOT)
    scene.emit("ann")
    scene.drain(smtp_timeout_seconds=SHORT_SECONDS)
    late.release()
    relay.wait_for(1)
    scene.drain()

    assert scene.check(bound=1).repeated == 1
    assert len({message_id(one.content) for one in relay.letters}) == 1


def test_a_greeting_that_comes_too_late_costs_no_email_an_attempt(scene: Scene, relay: ScriptedRelay) -> None:
    late = relay.hold(GREETING)
    scene.emit(*PEOPLE)
    scene.drain(smtp_timeout_seconds=SHORT_SECONDS)
    assert attempts(scene) == {0}

    late.release()
    scene.drain()

    assert scene.check().repeated == 0


def test_a_relay_that_nobody_reaches_costs_no_email_an_attempt(scene: Scene, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.refuse()
        scene.emit(*PEOPLE)
        for _ in range(7):
            scene.drain(smtp_url=line.smtp_url)
        assert attempts(scene) == {0}

        line.heal()
        scene.drain(smtp_url=line.smtp_url)

    assert scene.check().repeated == 0


@pytest.mark.parametrize("flow", list(Flow))
def test_a_half_open_line_loses_and_repeats_nothing_before_the_content(
    scene: Scene, relay: ScriptedRelay, flow: Flow
) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.block(flow)
        scene.emit(*PEOPLE)
        scene.drain(smtp_url=line.smtp_url, smtp_timeout_seconds=SHORT_SECONDS)
        assert attempts(scene) == {0}

        line.heal()
        scene.drain(smtp_url=line.smtp_url)

    assert scene.check().repeated == 0


def test_a_slow_line_delivers_everything_once(scene: Scene, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.delay(0.05)
        scene.emit(*PEOPLE)
        scene.drain(smtp_url=line.smtp_url)

    assert scene.check().repeated == 0


def test_a_yes_that_is_lost_on_the_way_repeats_the_email_and_nothing_else(scene: Scene, relay: ScriptedRelay) -> None:
    with Proxy(("127.0.0.1", relay.port)) as line:
        line.cut_the_reply_to(lambda said: said.endswith(b"\r\n.\r\n"))
        scene.emit(*PEOPLE)
        scene.drain(smtp_url=line.smtp_url)
        assert line.sprung.is_set()
        scene.drain(smtp_url=line.smtp_url)

    assert scene.check(bound=1).repeated == 1


def test_a_wrong_password_kills_no_email(
    scene: Scene, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.certificate = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(relay.certificate.file))
    relay.credentials = ("notify", "right")
    url = relay.url.replace("//", "//notify:{}@") + "?starttls=required"
    scene.emit(*PEOPLE)
    scene.drain(smtp_url=url.format("wrong"))
    assert relay.count(AUTH)
    assert {row.status for row in scene.tables().emails} == {"pending"}
    assert attempts(scene) == {0}

    scene.drain(smtp_url=url.format("right"))

    assert scene.check().repeated == 0


def test_an_email_cancelled_while_it_is_on_its_way_is_recorded_as_sent(scene: Scene, relay: ScriptedRelay) -> None:
    on_its_way = relay.hold(DOT)
    scene.emit("ann")
    with ThreadPoolExecutor(1) as threads:
        draining = threads.submit(scene.drain)
        on_its_way.wait_until_reached()
        with scene.database.begin() as connection:
            assert act_on(connection, Action.CANCEL, email_id(scene))
        on_its_way.release()
        draining.result()

    assert scene.check().repeated == 0
    assert scene.tables().verdicts == {"late_success": 1}
    assert [row.status for row in scene.tables().emails] == ["sent"]


def test_an_email_cannot_be_replayed_while_it_is_on_its_way(scene: Scene, relay: ScriptedRelay) -> None:
    on_its_way = relay.hold(DOT)
    scene.emit("ann")
    with ThreadPoolExecutor(1) as threads:
        draining = threads.submit(scene.drain)
        on_its_way.wait_until_reached()
        assert replayed(scene) is None
        on_its_way.release()
        draining.result()
    assert replayed(scene) is not None

    scene.drain()

    assert scene.check().repeated == 0
    assert len(names(relay.letters)) == len(relay.letters) == 2


def email_id(scene: Scene) -> int:
    """The row of the one email there is."""
    ((number,),) = scene.office().now("SELECT id FROM notify.email_jobs")
    return int(number)


def replayed(scene: Scene) -> int | None:
    """The row of a replay of the one email there is, if it may be replayed."""
    with scene.database.begin() as connection:
        return act_on(connection, Action.REPLAY, email_id(scene))


def failures(scene: Scene) -> set[int]:
    """How often emails have failed."""
    return {row.failures for row in scene.tables().emails}


def attempts(scene: Scene) -> set[int]:
    """How often emails have been claimed."""
    rows = scene.office().now("SELECT attempt FROM jobs WHERE status <> 'skipped'")
    return {attempt for (attempt,) in rows}


def names(emails: list[Received]) -> set[str]:
    """The Message-IDs of these emails."""
    return {message_id(one.content) for one in emails}
