"""Emails on the wire: what a relay says or does, and what becomes of the email and of the session."""

import asyncio
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from notify.channels.email.channel import EmailChannel
from notify.channels.email.smtp.limits import ORDINARY_BYTES
from notify.channels.email.smtp.pool import SessionLimits
from notify.channels.email.smtp.relay import Relay
from notify.domain.errors import InvalidSettings
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.measures import Count, Measure, no_count
from notify.domain.outcomes import Blame, Dead, Outcome, Phase, Released, Retry, Sent
from notify.domain.ports import Channel
from notify.domain.preferences import Person
from tests.support.emails import CHANGE_LIST, NOON, composer, email_facts
from tests.support.smtp import (
    AUTH,
    CONTENT,
    DATA,
    DOT,
    EHLO,
    GREETING,
    MAIL,
    NOOP,
    QUIT,
    RCPT,
    STARTTLS,
    Authority,
    Certificate,
    ClientLine,
    ScriptedRelay,
    nobody_listening,
)

T = TypeVar("T")

SHORT = timedelta(seconds=0.3)
LONG = timedelta(seconds=20)
IN_TURN = ("8BITMIME", "SMTPUTF8", "SIZE 10485760")
AT_ONCE = (*IN_TURN, "PIPELINING")
BOTH_WAYS = pytest.mark.parametrize("extensions", [IN_TURN, AT_ONCE], ids=["in turn", "pipelined"])


def channel(
    relay: ScriptedRelay,
    *,
    url: str | None = None,
    sessions: int = 4,
    timeout: timedelta = LONG,
    limits: SessionLimits | None = None,
    tls: ssl.SSLContext | None = None,
    count: Count = no_count,
) -> EmailChannel:
    """A channel to the scripted relay."""
    return EmailChannel(
        Relay.from_url(url or relay.url),
        composer(),
        bounce_address="bounces@example.com",
        sessions=sessions,
        timeout=timeout,
        limits=limits,
        tls=tls,
        now=lambda: NOON,
        count=count,
    )


def using(opened: EmailChannel, work: Callable[[EmailChannel], Awaitable[T]]) -> T:
    """What the work returns; the channel is closed after it."""

    async def main() -> T:
        try:
            return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(main())


def send(opened: EmailChannel, *emails: EmailFacts) -> list[Outcome]:
    """The outcomes of emails sent one after another."""

    async def work(opened: EmailChannel) -> list[Outcome]:
        return [await opened.send(EmailAttempt(facts=one)) for one in emails or (email_facts(),)]

    return using(opened, work)


def answers(*replies: str) -> Callable[[ClientLine], str | None]:
    """These replies in turn, then the usual ones."""
    left = list(replies)
    return lambda _: left.pop(0) if left else None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.made(tmp_path_factory.mktemp("certificate"))


def folder(within: Path, name: str) -> Path:
    made = within / name
    made.mkdir()
    return made


def guarded(relay: ScriptedRelay, *, credentials: str = "", implicit: bool = False) -> str:
    scheme, query = ("smtps", "") if implicit else ("smtp", "?starttls=required")
    return f"{scheme}://{credentials}127.0.0.1:{relay.port}{query}"


@BOTH_WAYS
def test_an_email_arrives_as_it_was_written(relay: ScriptedRelay, extensions: tuple[str, ...]) -> None:
    relay.extensions = extensions
    (outcome,) = send(channel(relay), email_facts(comment={"body": "first\n.\n..\n.hidden\n\nend é"}))
    (arrived,) = relay.wait_for(1)
    assert isinstance(outcome, Sent)
    assert (outcome.answer.phase, outcome.answer.code, outcome.answer.text) == (
        Phase.FINAL_DOT,
        250,
        "2.0.0 queued as 4711",
    )
    assert (arrived.sender, arrived.recipient) == ("bounces@example.com", "alice@example.com")
    written = composer().compose(email_facts(comment={"body": "first\n.\n..\n.hidden\n\nend é"}), date=NOON)
    assert arrived.content == written.content


@BOTH_WAYS
@pytest.mark.parametrize("body", [".\n" * 400, "a" * 15_000, ". " + "x" * 200_000], ids=["dots", "long line", "cut"])
def test_dots_and_long_lines_arrive_intact(relay: ScriptedRelay, extensions: tuple[str, ...], body: str) -> None:
    relay.extensions = extensions
    (outcome,) = send(channel(relay), email_facts(comment={"body": body, "code": ".\n.."}))
    assert isinstance(outcome, Sent)
    assert (
        relay.emails[0].content
        == composer().compose(email_facts(comment={"body": body, "code": ".\n.."}), date=NOON).content
    )


@BOTH_WAYS
@pytest.mark.parametrize(
    ("step", "reply", "verdict"),
    [
        (MAIL, "451 4.3.0 later", Retry),
        (MAIL, "550 5.7.1 not you", Released),
        (RCPT, "450 4.2.0 greylisted", Retry),
        (RCPT, "550 5.1.1 no such user", Dead),
        (DATA, "451 4.3.0 later", Retry),
        (DATA, "554 5.6.0 no", Dead),
        (DATA, "554 5.7.1 no", Retry),
        (DOT, "451 4.3.0 later", Retry),
        (DOT, "554 5.6.0 spam", Dead),
        (DOT, "554 5.7.1 spam", Retry),
        (DOT, "454 4.7.0 throttled", Released),
    ],
)
def test_after_a_refusal_the_session_takes_the_next_email(
    relay: ScriptedRelay, extensions: tuple[str, ...], step: str, reply: str, verdict: type[Outcome]
) -> None:
    relay.extensions = extensions
    relay.answers[step] = answers(reply)
    refused, sent = send(channel(relay), email_facts(1), email_facts(2))
    assert isinstance(refused, verdict)
    assert isinstance(refused, Retry | Dead | Released)
    assert refused.answer is not None
    assert f"{refused.answer.code} {refused.answer.text}" == reply
    assert refused.answer.phase.value == {DOT: "final_dot"}.get(step, step.lower())
    assert isinstance(sent, Sent)
    assert relay.connections == 1
    assert [one.recipient for one in relay.emails] == ["alice@example.com"]


@BOTH_WAYS
@pytest.mark.parametrize("step", [MAIL, RCPT, DATA, DOT])
def test_a_relay_that_closes_the_session_loses_no_email(
    relay: ScriptedRelay, extensions: tuple[str, ...], step: str
) -> None:
    relay.extensions = extensions
    relay.answers[step] = answers("421 4.3.2 shutting down")
    released, sent = send(channel(relay), email_facts(1), email_facts(2))
    assert isinstance(released, Released)
    assert (released.blame, released.reason) == (Blame.RELAY, "relay_closing")
    assert isinstance(sent, Sent)
    assert relay.connections == 2


@BOTH_WAYS
@pytest.mark.parametrize("step", [GREETING, EHLO, MAIL, RCPT, DATA, CONTENT, DOT])
def test_a_drop_counts_against_the_relay_until_the_email_may_have_been_accepted(
    relay: ScriptedRelay, extensions: tuple[str, ...], step: str
) -> None:
    relay.extensions = extensions
    relay.drop_at = {step}
    (outcome,) = send(channel(relay))
    if step in {CONTENT, DOT}:
        assert isinstance(outcome, Retry)
        assert (outcome.ambiguous, outcome.answer.phase) == (True, Phase.FINAL_DOT)
    else:
        assert isinstance(outcome, Released)
        assert (outcome.blame, outcome.reason) == (Blame.RELAY, "relay_dropped")


@BOTH_WAYS
@pytest.mark.parametrize("step", [GREETING, EHLO, MAIL, RCPT, DATA, DOT])
def test_silence_ends_at_the_timeout_and_ends_the_session(
    relay: ScriptedRelay, extensions: tuple[str, ...], step: str
) -> None:
    relay.extensions = extensions
    relay.silent_at = {step}
    (outcome,) = send(channel(relay, timeout=SHORT))
    if step == DOT:
        assert isinstance(outcome, Retry)
        assert outcome.ambiguous
    else:
        assert isinstance(outcome, Released)
        assert (outcome.blame, outcome.reason) == (Blame.RELAY, "relay_silent")
    relay.wait_until(lambda: relay.open_connections == 0)


def test_a_refused_connection_counts_against_the_relay_and_not_the_email(relay: ScriptedRelay) -> None:
    with nobody_listening() as port:
        (outcome,) = send(channel(relay, url=f"smtp://127.0.0.1:{port}"))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.RELAY, "relay_unreachable")


def test_an_unknown_host_counts_against_the_relay_and_not_the_email(relay: ScriptedRelay) -> None:
    (outcome,) = send(channel(relay, url="smtp://relay.invalid"))
    assert isinstance(outcome, Released)
    assert outcome.blame is Blame.RELAY


@pytest.mark.parametrize(
    ("reply", "blame"),
    [
        ("554 5.3.2 no service", Blame.RELAY),
        ("450 4.3.2 busy", Blame.RELAY),
        ("421 4.3.2 going down", Blame.RELAY),
        ("421 4.3.2 too many connections", Blame.THROTTLE),
    ],
)
def test_a_relay_that_refuses_in_its_greeting_gets_no_email(relay: ScriptedRelay, reply: str, blame: Blame) -> None:
    relay.answers[GREETING] = reply
    (outcome,) = send(channel(relay))
    assert isinstance(outcome, Released)
    assert outcome.blame is blame
    assert relay.count(MAIL) == 0


@pytest.mark.parametrize("nonsense", ["hello", "99 no", "250x", "\x00\x01"])
def test_nonsense_ends_the_session_and_charges_no_email(relay: ScriptedRelay, nonsense: str) -> None:
    relay.answers[RCPT] = answers(nonsense)
    released, sent = send(channel(relay), email_facts(1), email_facts(2))
    assert isinstance(released, Released)
    assert (released.blame, released.reason) == (Blame.RELAY, "relay_garbled")
    assert isinstance(sent, Sent)
    assert relay.connections == 2


@BOTH_WAYS
def test_an_email_whose_lease_is_lost_does_not_reach_data(relay: ScriptedRelay, extensions: tuple[str, ...]) -> None:
    relay.extensions = extensions
    opened = channel(relay)

    async def work(opened: EmailChannel) -> tuple[Outcome, Outcome]:
        lost = await opened.send(EmailAttempt(facts=email_facts(1), leased_until=0.0))
        return lost, await opened.send(EmailAttempt(facts=email_facts(2)))

    lost, sent = using(opened, work)
    assert lost == Released(reason="lease_lost")
    assert isinstance(sent, Sent)
    assert (relay.count(DATA), relay.connections, len(relay.emails)) == (1, 1, 1)


@BOTH_WAYS
def test_a_lease_lost_while_the_relay_is_slow_sends_no_content(
    relay: ScriptedRelay, extensions: tuple[str, ...]
) -> None:
    relay.extensions = extensions
    gate = relay.pause_at(DATA)
    email = EmailAttempt(facts=email_facts())

    async def work(opened: EmailChannel) -> Outcome:
        sending = asyncio.create_task(opened.send(email))
        await asyncio.to_thread(gate.wait_until_reached)
        email.leased_until = 0.0
        gate.release()
        return await sending

    assert using(channel(relay), work) == Released(reason="lease_lost")
    relay.wait_until(lambda: relay.open_connections == 0)
    assert relay.emails == []


@BOTH_WAYS
@pytest.mark.parametrize("step", [MAIL, DATA, DOT])
def test_cancelling_an_email_closes_its_session(relay: ScriptedRelay, extensions: tuple[str, ...], step: str) -> None:
    relay.extensions = extensions
    gate = relay.pause_at(step)

    async def work(opened: EmailChannel) -> Outcome:
        sending = asyncio.create_task(opened.send(EmailAttempt(facts=email_facts(1))))
        await asyncio.to_thread(gate.wait_until_reached)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        gate.release()
        return await opened.send(EmailAttempt(facts=email_facts(2)))

    assert isinstance(using(channel(relay), work), Sent)
    assert relay.connections == 2


def test_many_emails_share_few_sessions(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> list[Outcome]:
        return await asyncio.gather(*(opened.send(EmailAttempt(facts=email_facts(n))) for n in range(40)))

    outcomes = using(channel(relay, sessions=3), work)
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert relay.connections <= 3
    assert len({one.content for one in relay.emails}) == 40


def test_sessions_work_in_parallel(relay: ScriptedRelay) -> None:
    gate = relay.pause_at(DOT)

    async def work(opened: EmailChannel) -> list[Outcome]:
        sending = asyncio.gather(*(opened.send(EmailAttempt(facts=email_facts(n))) for n in range(3)))
        await asyncio.to_thread(relay.wait_until, lambda: relay.open_connections == 3)
        gate.release()
        return await sending

    assert all(isinstance(outcome, Sent) for outcome in using(channel(relay, sessions=3), work))


@pytest.mark.parametrize(
    ("limits", "connections"),
    [(SessionLimits(emails=2), 3), (SessionLimits(age=timedelta(0)), 5), (SessionLimits(), 1)],
)
def test_a_session_is_replaced_after_its_maximum_of_emails(
    relay: ScriptedRelay, limits: SessionLimits, connections: int
) -> None:
    assert all(isinstance(one, Sent) for one in send(channel(relay, limits=limits), *map(email_facts, range(5))))
    assert relay.connections == connections


def test_an_idle_session_is_closed_before_the_relay_would_close_it(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> None:
        await opened.send(EmailAttempt(facts=email_facts()))
        await asyncio.to_thread(relay.wait_until, lambda: relay.open_connections == 0)

    using(channel(relay, limits=SessionLimits(idle=timedelta(milliseconds=20))), work)
    assert relay.count(QUIT) == 1


@BOTH_WAYS
def test_a_session_that_the_relay_closed_while_idle_costs_no_email(
    relay: ScriptedRelay, extensions: tuple[str, ...]
) -> None:
    relay.extensions = extensions

    async def work(opened: EmailChannel) -> Outcome:
        await opened.open()
        relay.answers[MAIL] = answers("421 4.4.2 idle for too long")
        return await opened.send(EmailAttempt(facts=email_facts(2)))

    assert isinstance(using(channel(relay), work), Sent)
    assert (relay.connections, len(relay.emails)) == (2, 1)


def test_a_connection_lost_while_idle_costs_no_email(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> Outcome:
        await opened.send(EmailAttempt(facts=email_facts(1)))
        relay.hang_up()
        return await opened.send(EmailAttempt(facts=email_facts(2)))

    assert isinstance(using(channel(relay), work), Sent)
    assert (relay.connections, len(relay.emails)) == (2, 2)


def test_sessions_end_with_quit(relay: ScriptedRelay) -> None:
    send(channel(relay))
    assert relay.count(QUIT) == 1
    relay.wait_until(lambda: relay.open_connections == 0)


def test_a_closed_channel_can_be_used_again(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> Outcome:
        await opened.send(EmailAttempt(facts=email_facts(1)))
        await opened.close()
        return await opened.send(EmailAttempt(facts=email_facts(2)))

    assert isinstance(using(channel(relay), work), Sent)
    assert relay.connections == 2


def test_opening_goes_through_the_whole_login_and_risks_no_email(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> list[object]:
        first, second = await opened.open(), await opened.open()
        return [first, second, await opened.send(EmailAttempt(facts=email_facts()))]

    first, second, sent = using(channel(relay), work)
    assert (first, second) == (None, None)
    assert isinstance(sent, Sent)
    assert (relay.connections, relay.count(NOOP)) == (1, 2)


def test_opening_notices_that_an_idle_session_is_gone(relay: ScriptedRelay) -> None:
    async def work(opened: EmailChannel) -> Released | None:
        await opened.open()
        relay.hang_up()
        return await opened.open()

    assert using(channel(relay), work) is None
    assert relay.connections == 2


def test_a_failed_opening_has_a_reason(relay: ScriptedRelay) -> None:
    relay.answers[GREETING] = "554 5.3.2 no service"
    obstacle = using(channel(relay), EmailChannel.open)
    assert obstacle is not None
    assert (obstacle.blame, obstacle.reason) == (Blame.RELAY, "relay_refused")


def test_opening_does_not_wait_for_an_email_in_flight(relay: ScriptedRelay) -> None:
    gate = relay.pause_at(DOT)

    async def work(opened: EmailChannel) -> Released | None:
        sending = asyncio.create_task(opened.send(EmailAttempt(facts=email_facts())))
        await asyncio.to_thread(gate.wait_until_reached)
        found = await opened.open()
        gate.release()
        await sending
        return found

    assert using(channel(relay, sessions=1), work) is None


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
@pytest.mark.parametrize("password", ["s3cret", "gehéim:@/?#"])
def test_a_password_is_sent_only_under_tls(certificate: Certificate, password: str, *, implicit: bool) -> None:
    with ScriptedRelay(certificate=certificate, implicit_tls=implicit, credentials=("ann", password)) as relay:
        url = guarded(relay, credentials=f"ann:{quote(password, safe='')}@", implicit=implicit)
        first, second = send(channel(relay, url=url, tls=certificate.trusted()), email_facts(1), email_facts(2))
    assert isinstance(first, Sent)
    assert isinstance(second, Sent)
    assert (relay.connections, relay.count(AUTH), relay.count(STARTTLS)) == (1, 1, 0 if implicit else 1)


@pytest.mark.parametrize(("step", "answer"), [(EHLO, None), (AUTH, None), (AUTH, "421 4.3.2 not now"), (QUIT, None)])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit tls"])
def test_no_connection_outlives_the_channel(
    certificate: Certificate, step: str, answer: str | None, *, implicit: bool
) -> None:
    def block(_: ClientLine) -> str | None:
        if answer is None:
            relay.pause_at(step).pass_through()
        return answer

    with ScriptedRelay(certificate=certificate, implicit_tls=implicit, credentials=("ann", "right")) as relay:
        url = guarded(relay, credentials="ann:right@", implicit=implicit)
        relay.answers[step] = block
        send(channel(relay, url=url, tls=certificate.trusted(), timeout=SHORT, limits=SessionLimits(emails=1)))
        gc.collect()  # an unclosed transport warns here, which fails the test


def test_a_refused_password_is_a_configuration_error_and_not_repeated(certificate: Certificate) -> None:
    with ScriptedRelay(certificate=certificate, credentials=("ann", "right")) as relay:
        relay.answers[AUTH] = "535 5.7.8 not s3cret"
        url = guarded(relay, credentials="ann:s3cret@")
        (outcome,) = send(channel(relay, url=url, tls=certificate.trusted()))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "auth_refused")
    assert outcome.answer is not None
    assert (outcome.answer.phase, outcome.answer.code) == (Phase.AUTH, 535)
    assert "s3cret" not in outcome.answer.text


@pytest.mark.parametrize(
    "mechanisms", [("CRAM-MD5", "LOGIN", "PLAIN"), ("LOGIN", "CRAM-MD5"), ("CRAM-MD5",)], ids=" ".join
)
def test_a_password_is_sent_once_a_connection_whatever_the_relay_offers(
    certificate: Certificate, mechanisms: tuple[str, ...]
) -> None:
    with ScriptedRelay(certificate=certificate, credentials=("ann", "right"), mechanisms=mechanisms) as relay:
        wrong, right = (
            send(channel(relay, url=guarded(relay, credentials=f"ann:{word}@"), tls=certificate.trusted()))
            for word in ("wrong", "right")
        )
    assert isinstance(wrong[0], Released)
    assert (wrong[0].blame, wrong[0].reason) == (Blame.CONFIGURATION, "auth_refused")
    assert isinstance(right[0], Sent)
    assert (relay.connections, relay.count(AUTH)) == (2, 2)


@pytest.mark.parametrize(
    ("offered", "options", "told"),
    [
        ("XOAUTH2", "", "AUTH XOAUTH2; it accepts access tokens but no password"),
        ("GSSAPI", "", "AUTH GSSAPI; a password needs AUTH PLAIN"),
        ("PLAIN", "&token_command=echo+token", "AUTH PLAIN; an access token needs AUTH OAUTHBEARER or AUTH XOAUTH2"),
    ],
)
def test_a_relay_without_a_mechanism_we_can_use_gets_nothing_and_its_offer_is_reported(
    certificate: Certificate, offered: str, options: str, told: str
) -> None:
    with ScriptedRelay(certificate=certificate, credentials=("ann", "s3cret"), mechanisms=(offered,)) as relay:
        url = guarded(relay, credentials="ann@" if options else "ann:s3cret@") + options
        (outcome,) = send(channel(relay, url=url, tls=certificate.trusted()))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "auth_not_offered")
    assert outcome.answer is not None
    assert told in outcome.answer.text
    assert relay.count(AUTH) == 0


def test_a_relay_without_auth_gets_no_password(certificate: Certificate) -> None:
    with ScriptedRelay(certificate=certificate) as relay:
        url = guarded(relay, credentials="ann:s3cret@")
        (outcome,) = send(channel(relay, url=url, tls=certificate.trusted()))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "auth_not_offered")
    assert relay.count(AUTH) == 0


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
@pytest.mark.parametrize("mistake", ["unknown authority", "another host"])
def test_a_relay_with_an_invalid_certificate_gets_no_email_and_no_password(
    certificate: Certificate, tmp_path: Path, mistake: str, *, implicit: bool
) -> None:
    other = Certificate.made(tmp_path, address="192.0.2.1")
    shown, trusted = (other, certificate) if mistake == "unknown authority" else (other, other)
    with ScriptedRelay(certificate=shown, implicit_tls=implicit, credentials=("ann", "s3cret")) as relay:
        scheme, query = ("smtps", "") if implicit else ("smtp", "?starttls=required")
        url = f"{scheme}://ann:s3cret@127.0.0.1:{relay.port}{query}"
        (outcome,) = send(channel(relay, url=url, tls=trusted.trusted()))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "certificate")
    assert (relay.count(AUTH), relay.count(MAIL)) == (0, 0)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
def test_a_private_authority_is_trusted_for_its_own_relay_and_for_no_other(tmp_path: Path, *, implicit: bool) -> None:
    ours, theirs = (Authority.made(folder(tmp_path, name)) for name in ("ours", "theirs"))
    with ScriptedRelay(certificate=ours.issues(tmp_path), implicit_tls=implicit) as relay:
        scheme, query = ("smtps", "?") if implicit else ("smtp", "?starttls=required&")
        urls = [f"{scheme}://127.0.0.1:{relay.port}{query}ca={authority.file}" for authority in (ours, theirs)]
        (sent,), (refused,) = (send(channel(relay, url=url)) for url in urls)
    assert isinstance(sent, Sent)
    assert isinstance(refused, Released)
    assert (refused.blame, refused.reason, relay.count(MAIL)) == (Blame.CONFIGURATION, "certificate", 1)


@pytest.mark.parametrize("names_its_issuers_key", [False, True])
def test_the_objections_of_openssls_strict_checks_are_reported(tmp_path: Path, *, names_its_issuers_key: bool) -> None:
    authority = Authority.made(tmp_path)
    strict = ssl.create_default_context(cafile=authority.file)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    shown = authority.issues(tmp_path, names_its_issuers_key=names_its_issuers_key)
    with ScriptedRelay(certificate=shown) as relay:
        (outcome,) = send(channel(relay, url=guarded(relay), tls=strict))
    if names_its_issuers_key:
        assert isinstance(outcome, Sent)
    else:
        assert isinstance(outcome, Released)
        assert outcome.answer is not None
        assert (outcome.reason, outcome.answer.text) == ("certificate", "Missing Authority Key Identifier")


@pytest.mark.parametrize("host", ["localhost", "localhost."])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
def test_a_certificate_is_valid_for_a_relay_named_with_a_final_dot(
    tmp_path: Path, host: str, *, implicit: bool
) -> None:
    shown = Certificate.made(tmp_path, host="localhost")
    with ScriptedRelay(certificate=shown, implicit_tls=implicit) as relay:
        scheme, query = ("smtps", "") if implicit else ("smtp", "?starttls=required")
        url = f"{scheme}://{host}:{relay.port}{query}"
        (outcome,) = send(channel(relay, url=url, tls=shown.trusted()))
    assert isinstance(outcome, Sent)


def test_without_starttls_nothing_is_sent_to_a_relay_that_must_offer_it(relay: ScriptedRelay) -> None:
    (outcome,) = send(channel(relay, url=guarded(relay)))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.RELAY, "starttls_not_offered")
    assert relay.count(MAIL) == 0


def test_a_relay_without_tls_counts_against_the_relay(relay: ScriptedRelay) -> None:
    (outcome,) = send(channel(relay, url=f"smtps://127.0.0.1:{relay.port}", timeout=timedelta(seconds=2)))
    assert isinstance(outcome, Released)
    assert outcome.blame is Blame.RELAY


def test_a_tls_hello_that_contains_a_line_end_does_not_confuse_the_relay(relay: ScriptedRelay) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), 20) as line, line.makefile("rwb", buffering=0) as words:
        words.write(b"\x16\x03\x01\xfc\r\nEHLO here\r\n")
        greeting, unknown, offer = (words.readline() for _ in range(3))
    assert (greeting[:3], unknown[:3], offer[:3]) == (b"220", b"500", b"250")


def test_an_international_address_reaches_an_international_relay(relay: ScriptedRelay) -> None:
    (outcome,) = send(channel(relay), email_facts(to="jörg@bücher.example"))
    assert isinstance(outcome, Sent)
    (arrived,) = relay.emails
    assert arrived.recipient == "jörg@xn--bcher-kva.example"
    assert "<jörg@xn--bcher-kva.example>".encode() in arrived.content


def test_an_international_address_is_dead_if_the_relay_lacks_smtputf8(relay: ScriptedRelay) -> None:
    relay.extensions = ()
    dead, sent = send(channel(relay), email_facts(1, to="jörg@example.com"), email_facts(2, to="ann@bücher.example"))
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.undeliverable) == ("smtputf8_not_offered", False)
    assert isinstance(sent, Sent)
    assert (relay.count(MAIL), relay.connections) == (1, 1)


def test_an_email_over_the_relays_size_limit_is_not_begun(relay: ScriptedRelay) -> None:
    relay.extensions = (f"SIZE {ORDINARY_BYTES}",)
    dead, sent = send(channel(relay), email_facts(1, comment={"body": "word " * 4_000}), email_facts(2))
    assert isinstance(dead, Dead)
    assert dead.reason == "oversize"
    assert isinstance(sent, Sent)
    assert relay.count(MAIL) == 1


def test_a_relay_that_refuses_ordinary_emails_is_a_configuration_error(relay: ScriptedRelay) -> None:
    relay.extensions = (f"SIZE {ORDINARY_BYTES - 1}",)
    (outcome,) = send(channel(relay))
    assert isinstance(outcome, Released)
    assert (outcome.reason, outcome.blame) == ("size_limit", Blame.CONFIGURATION)
    assert relay.count(MAIL) == 0


@pytest.mark.parametrize("refusal", ["552 message too large", "552 5.3.4 message too big for system"])
def test_an_ordinary_email_refused_for_its_size_before_its_recipient_is_known_is_not_charged(
    relay: ScriptedRelay, refusal: str
) -> None:
    relay.answers["MAIL"] = refusal
    (large,) = send(channel(relay), email_facts(1, comment={"body": "word " * 4_000}))
    (ordinary,) = send(channel(relay), email_facts(2))
    assert isinstance(large, Dead)
    assert isinstance(ordinary, Released)
    assert ordinary.blame is Blame.CONFIGURATION


@pytest.mark.parametrize("limit", ["SIZE", "SIZE 0", "SIZE unlimited", "SIZE ²", f"SIZE {'9' * 400}"])
def test_a_relay_without_a_size_limit_gets_any_size(relay: ScriptedRelay, limit: str) -> None:
    relay.extensions = (limit,)
    assert isinstance(send(channel(relay))[0], Sent)


@pytest.mark.parametrize(
    ("impossible", "reason"),
    [
        (email_facts(actor=Person(username="eve", display_name="Eve\r\nBcc: all@example.com")), "unsafe_header"),
        (email_facts(recipient=Person(username="a", display_name="A\nB")), "unsafe_header"),
        (email_facts(change_list=replace(CHANGE_LIST, link="CL-1\r\nX-Evil: 1")), "unsafe_header"),
        (email_facts(to="alice@example.com\r\nRCPT TO:<eve@example.com>"), "unsafe_header"),
        (email_facts(event_type="cl.never.heard.of"), "template_error"),
    ],
)
def test_an_email_that_cannot_be_composed_is_dead_and_nothing_is_sent(
    relay: ScriptedRelay, impossible: EmailFacts, reason: str
) -> None:
    (outcome,) = send(channel(relay), impossible)
    assert isinstance(outcome, Dead)
    assert (outcome.reason, outcome.undeliverable, outcome.answer.phase) == (reason, False, Phase.RENDER)
    assert relay.connections == 0


@BOTH_WAYS
def test_an_unexpected_error_is_retried_and_logged_without_the_emails_content(
    relay: ScriptedRelay, extensions: tuple[str, ...]
) -> None:
    relay.extensions = extensions

    def broken(measure: Measure, label: str, seconds: float = 0.0) -> None:  # noqa: ARG001 - a Count
        if label == Phase.MAIL:
            message = "about alice@example.com"
            raise ZeroDivisionError(message)

    with capture_logs() as logged:
        bug, *_ = send(channel(relay, count=broken))
    assert isinstance(bug, Retry)
    assert (bug.reason, bug.max_failures, bug.ambiguous) == ("internal_error", 3, False)
    assert "alice@example.com" not in f"{logged} {bug}"
    assert "broken" in logged[0]["trace"]
    relay.wait_until(lambda: relay.open_connections == 0)


def test_the_relay_is_named_without_credentials(relay: ScriptedRelay) -> None:
    opened: Channel = channel(relay, url="smtps://ann:s3cret@mail.example.com", sessions=3)
    assert (opened.relay, opened.sessions) == ("mail.example.com:465", 3)


def test_an_invalid_envelope_sender_stops_the_start(relay: ScriptedRelay) -> None:
    with pytest.raises(InvalidSettings):
        EmailChannel(Relay.from_url(relay.url), composer(), bounce_address="nobody")
