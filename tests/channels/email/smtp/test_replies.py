"""What each answer of a relay means, row by row."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify.channels.email.smtp.replies import (
    broken,
    classify,
    internal_error,
    misconfigured,
    unopened,
    unreachable,
    unsendable,
)
from notify.domain.outcomes import Answer, Blame, Dead, Outcome, Phase, Released, Retry, Sent

OPENING = [Phase.GREETING, Phase.EHLO, Phase.TLS, Phase.AUTH]
WITH_AN_EMAIL = [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.FINAL_DOT]
ABOUT_CONTENT = [Phase.RCPT, Phase.DATA, Phase.FINAL_DOT]
FIVE_MINUTES, ONE_HOUR, AT_ONCE = timedelta(minutes=5), timedelta(hours=1), timedelta(0)


def kind(outcome: Outcome) -> tuple[object, ...]:
    """The part of an outcome that the table covers, without the reply's text."""
    match outcome:
        case Released(reason=reason, blame=blame):
            return Released, blame, reason
        case Retry(reason=reason, floor=floor, ambiguous=ambiguous):
            return Retry, floor, ambiguous, reason
        case Dead(reason=reason, undeliverable=undeliverable):
            return Dead, undeliverable, reason
        case _:
            return (type(outcome),)


RELAY = (Released, Blame.RELAY)
CONFIGURATION = (Released, Blame.CONFIGURATION)
THROTTLE = (Released, Blame.THROTTLE, "throttled")
GREYLISTED = (Retry, FIVE_MINUTES, False, "later")
LATER = (Retry, AT_ONCE, False, "later")
FULL = (Retry, ONE_HOUR, False, "mailbox_full")
REFUSED = (Dead, False, "refused")
NO_SUCH_ADDRESS = (Dead, True, "refused")
POLICY = (Retry, FIVE_MINUTES, False, "policy")
OVERSIZE = (Dead, False, "oversize")

TABLE = [
    *[(phase, "554 no service here", (*RELAY, "relay_refused")) for phase in OPENING if phase is not Phase.AUTH],
    *[(phase, "450 4.3.2 not now", (*RELAY, "relay_refused")) for phase in OPENING],
    *[(phase, "421 4.3.2 going down", (*RELAY, "relay_closing")) for phase in [*OPENING, *WITH_AN_EMAIL]],
    *[(phase, "421 4.7.0 rate limit, closing", THROTTLE) for phase in [*OPENING, *WITH_AN_EMAIL]],
    *[
        (phase, "421 4.7.0 relay.test Error: too many errors", (*RELAY, "relay_closing"))
        for phase in [*OPENING, *WITH_AN_EMAIL]
    ],
    (Phase.AUTH, "454 4.7.0 temporary failure", (*RELAY, "relay_refused")),
    (Phase.AUTH, "504 5.5.4 mechanism unknown", (*CONFIGURATION, "auth_refused")),
    *[(Phase.AUTH, f"{code} 5.7.8 no", (*CONFIGURATION, "auth_refused")) for code in (530, 534, 535, 538)],
    *[(phase, "530 5.7.0 log in first", (*CONFIGURATION, "auth_refused")) for phase in WITH_AN_EMAIL],
    (Phase.MAIL, "550 5.7.1 not you", (*CONFIGURATION, "sender_refused")),
    (Phase.MAIL, "553 5.1.8 no such domain", (*CONFIGURATION, "sender_refused")),
    (Phase.MAIL, "501 what", (*CONFIGURATION, "sender_refused")),
    *[(phase, f"{code} wait", GREYLISTED) for phase in WITH_AN_EMAIL for code in (450, 451, 452)],
    *[(phase, "450 4.7.1 greylisted", GREYLISTED) for phase in WITH_AN_EMAIL],
    *[(phase, "471 4.7.1 wait", GREYLISTED) for phase in WITH_AN_EMAIL],
    *[(phase, f"{code} try again", LATER) for phase in WITH_AN_EMAIL for code in (431, 441, 447, 455)],
    *[(phase, "454 throttling failure", THROTTLE) for phase in WITH_AN_EMAIL],
    *[(phase, "450 4.7.1 rate limit exceeded", THROTTLE) for phase in WITH_AN_EMAIL],
    *[(phase, "451 4.7.0 daily quota used up", THROTTLE) for phase in WITH_AN_EMAIL],
    *[(phase, "452 4.7.28 too many messages", THROTTLE) for phase in WITH_AN_EMAIL],
    *[(phase, "550 5.4.5 daily sending quota exceeded", THROTTLE) for phase in WITH_AN_EMAIL],
    *[(phase, "450 4.2.1 receiving at a rate that prevents delivery", GREYLISTED) for phase in WITH_AN_EMAIL],
    *[(phase, "452 4.2.2 over quota", FULL) for phase in WITH_AN_EMAIL],
    *[(phase, "552 5.2.2 over quota", FULL) for phase in ABOUT_CONTENT],
    *[(phase, "552 mailbox full", FULL) for phase in ABOUT_CONTENT],
    *[(phase, "550 5.2.2 over quota", FULL) for phase in ABOUT_CONTENT],
    *[(phase, "552 5.3.4 too big", OVERSIZE) for phase in WITH_AN_EMAIL],
    *[(phase, "550 5.2.3 too big", OVERSIZE) for phase in WITH_AN_EMAIL],
    (Phase.MAIL, "552 message size exceeds maximum", OVERSIZE),
    *[(phase, "552 5.7.0 blocked content", POLICY) for phase in ABOUT_CONTENT],
    *[(phase, "550 5.7.26 unauthenticated email is not accepted", POLICY) for phase in ABOUT_CONTENT],
    *[(phase, "550 no", REFUSED) for phase in ABOUT_CONTENT],
    *[(phase, "554 5.7.1 spam", POLICY) for phase in ABOUT_CONTENT],
    *[(phase, "554 spam", REFUSED) for phase in ABOUT_CONTENT],
    *[(phase, "503 bad sequence", REFUSED) for phase in ABOUT_CONTENT],
    *[
        (phase, f"550 5.1.{detail} no such address", NO_SUCH_ADDRESS)
        for phase in ABOUT_CONTENT
        for detail in (1, 2, 3, 6, 10)
    ],
    (Phase.RCPT, "550 5.1.7 bad sender", (*CONFIGURATION, "sender_refused")),
    (Phase.RCPT, "550 no mailbox here by that name (#5.1.1)", NO_SUCH_ADDRESS),
    (Phase.RCPT, "550 4.1.1 contradicts itself", REFUSED),
    (Phase.FINAL_DOT, "250 2.0.0 queued", (Sent,)),
    (Phase.FINAL_DOT, "200 fine", (Sent,)),
    (Phase.FINAL_DOT, "354 go on", (Retry, AT_ONCE, True, "no_final_answer")),
    *[(phase, "354 go on", (*RELAY, "relay_garbled")) for phase in (Phase.MAIL, Phase.RCPT)],
    (Phase.DATA, "250 ok", (*RELAY, "relay_garbled")),
]


@pytest.mark.parametrize(("phase", "reply", "outcome"), TABLE, ids=[f"{row[0]}-{row[1]}" for row in TABLE])
def test_every_answer_has_the_outcome_of_the_table(phase: Phase, reply: str, outcome: tuple[object, ...]) -> None:
    code, text = reply.split(" ", maxsplit=1)
    assert kind(classify(phase, int(code), text)) == outcome


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("reason", ["relay_dropped", "relay_silent", "relay_garbled"])
def test_only_a_session_that_ends_after_the_final_dot_is_ambiguous(phase: Phase, reason: str) -> None:
    outcome = broken(phase, reason=reason)
    if phase is Phase.FINAL_DOT:
        assert kind(outcome) == (Retry, AT_ONCE, True, "no_final_answer")
    else:
        assert kind(outcome) == (*RELAY, reason)
    assert outcome.answer == Answer(phase=phase, text=reason)


def test_an_internal_error_is_tried_three_times() -> None:
    outcome = internal_error(Phase.RCPT, name="ZeroDivisionError")
    assert (outcome.max_failures, outcome.ambiguous, outcome.answer.text) == (3, False, "ZeroDivisionError")
    assert internal_error(Phase.FINAL_DOT, name="ZeroDivisionError").ambiguous


def test_an_unreachable_relay_is_no_configuration_error_and_an_invalid_certificate_is() -> None:
    assert unreachable(Phase.CONNECT, reason="relay_unreachable", text="refused").blame is Blame.RELAY
    assert misconfigured(Phase.TLS, reason="certificate", text="expired").blame is Blame.CONFIGURATION


@pytest.mark.parametrize("phase", OPENING)
@given(code=st.integers(-1, 999), text=st.text(max_size=80))
def test_answers_before_the_first_email_charge_no_email(phase: Phase, code: int, text: str) -> None:
    assert isinstance(unopened(phase, code, text), Released)


@pytest.mark.parametrize("phase", Phase)
@given(code=st.integers(-1, 999), text=st.text(st.characters(), max_size=3_000))
@example(code=550, text="é" * 3_000)
@example(code=550, text="a" + "\x1b😀" * 3_000)
def test_what_is_kept_of_an_answer_can_always_be_stored(phase: Phase, code: int, text: str) -> None:
    outcome = classify(phase, code, text)
    answer = getattr(outcome, "answer", None)
    assert answer is not None
    assert len(answer.text.encode()) <= 1_024
    assert not any(ord(character) < 32 for character in answer.text)


@given(st.text("\r\n\t\0\x1b\x7f\x85ab é😀", max_size=2_000))
def test_our_own_reasons_can_always_be_stored(text: str) -> None:
    kept = unsendable(reason="oversize", text=text).answer.text
    assert len(kept.encode()) <= 1_024
    assert not set(kept) & set("\r\n\t\0\x1b\x7f\x85")


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (550, "5.1.1 unknown", "5.1.1"),
        (550, "5.1.1", "5.1.1"),
        (550, "5.1.10 null MX", "5.1.10"),
        (550, "5.7.1 first line\n5.7.1 second line", "5.7.1"),
        (550, "first line\n5.7.1 only the last has one", "5.7.1"),
        (550, "#5.1.1 unknown", "5.1.1"),
        (550, "unknown (#5.1.1)", "5.1.1"),
        (550, "4.2.1 contradicts the reply code", None),
        (550, "10.0.0.1 is listed", None),
        (550, "5.1.1.1 is an address", None),
        (550, "mailbox 5.1.1 unknown", None),
        (550, "", None),
    ],
)
def test_an_enhanced_code_is_read_only_at_its_place(code: int, text: str, enhanced: str | None) -> None:
    outcome = classify(Phase.RCPT, code, text)
    assert isinstance(outcome, Dead | Retry)
    assert outcome.answer.enhanced == enhanced


def test_a_credential_repeated_by_the_relay_is_not_kept() -> None:
    outcome = unopened(Phase.AUTH, 535, "5.7.8 who is AGFubgBzM2NyZXQ= ?", hide=("s3cret", "AGFubgBzM2NyZXQ="))
    assert outcome.answer is not None
    assert "AGFubgBzM2NyZXQ=" not in outcome.answer.text
    assert outcome.answer.enhanced == "5.7.8"
