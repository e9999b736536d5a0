"""The connection to the relay is cut at every byte: nothing is lost, ambiguous or repeated without need."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from re import finditer

import pytest

from notify.channels.email.channel import EmailChannel
from notify.channels.email.smtp.relay import Relay
from notify.channels.email.writing.compose import Composer
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.outcomes import Blame, Dead, Outcome, Released, Retry, Sent
from tests.support.emails import composer, email_facts
from tests.support.proxy import Flow, Proxy
from tests.support.smtp import (
    AUTH,
    EHLO,
    GREETING,
    NOOP,
    QUIT,
    RCPT,
    RSET,
    STARTTLS,
    Certificate,
    ScriptedRelay,
)
from tests.support.wire import message_id

EMAILS = tuple(email_facts(number) for number in (1, 2, 3))
IN_TURN = ("8BITMIME", "SIZE 10485760")
AT_ONCE = (*IN_TURN, "PIPELINING")
COMMAND = rb"EHLO [^\r]*\r\n|MAIL FROM[^\r]*\r\n|RCPT TO[^\r]*\r\n|DATA\r\n|\r\n\.\r\n"
REPLY = rb"[^\r]*\r\n"
IN_CONTENT = 400
# How often the relay may have an email with this outcome.
POSSIBLE = {"sent": (1,), "ambiguous": (0, 1), "not sent": (0,)}
LONG, SHORT = timedelta(seconds=20), timedelta(seconds=0.3)


@dataclass(slots=True)
class Run:
    """Emails for one session, and the outcomes of those that were begun."""

    emails: Sequence[EmailFacts]
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    async def carried_by(self, channel: EmailChannel) -> None:
        left = [EmailAttempt(facts=one) for one in self.emails]
        await channel.carry(
            left.pop(0), following=lambda _: left.pop(0) if left else None, sent=self._sent, ended=self._ended
        )
        self.outcomes |= {one.facts.message_id: [] for one in left}

    def _sent(self, email: EmailAttempt) -> None:
        self._ended(email, Sent(answer=email.answer))

    def _ended(self, email: EmailAttempt, outcome: Outcome) -> None:
        self.outcomes.setdefault(email.facts.message_id, []).append(outcome)


@pytest.fixture
def line(relay: ScriptedRelay) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", relay.port)) as proxy:
        yield proxy


@cache
def one_composer() -> Composer:
    """Compiles its templates once for all cuts."""
    return composer()


@cache
def no_certificates() -> ssl.SSLContext:
    """For plain text; loading the system's takes longer than sending an email."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def channel(url: str, *, timeout: timedelta = LONG, certificate: Certificate | None = None) -> EmailChannel:
    return EmailChannel(
        Relay.from_url(url),
        one_composer(),
        bounce_address="bounces@example.com",
        sessions=1,
        timeout=timeout,
        tls=certificate.trusted() if certificate else no_certificates(),
    )


def carry(url: str, emails: Sequence[EmailFacts] = EMAILS) -> dict[str, list[Outcome]]:
    """The outcomes of emails that may share a session; those never begun have none."""
    run = Run(emails)

    async def main() -> None:
        opened = channel(url)
        await run.carried_by(opened)
        await opened.close()

    asyncio.run(main())
    return run.outcomes


def cuts(line: Proxy, flow: Flow) -> list[int]:
    """Before, within and after every line of a whole conversation, and at some places in the content."""
    line.listen()
    carry(line.smtp_url)
    said = line.heard[flow]
    ends = [found.span() for found in finditer(COMMAND if flow is Flow.TO_SERVER else REPLY, said)]
    close_by = {cut for start, end in ends for cut in (start + 1, end)}
    return sorted(cut for cut in close_by | set(range(0, len(said), IN_CONTENT)) if cut < len(said))


@pytest.mark.parametrize("extensions", [IN_TURN, AT_ONCE], ids=["in turn", "pipelined"])
@pytest.mark.parametrize("flow", list(Flow))
def test_wherever_the_connection_is_cut_the_outcome_is_true_and_the_next_session_sends_the_rest(
    relay: ScriptedRelay, line: Proxy, extensions: tuple[str, ...], flow: Flow
) -> None:
    relay.extensions = extensions
    positions = cuts(line, flow)
    assert len(positions) > 15
    for cut in positions:
        relay.forget()
        line.cut_after(flow, at_most=cut)
        outcomes = carry(line.smtp_url)
        relay.wait_until(lambda: relay.open_connections == 0)
        assert line.sprung.is_set()
        assert false_outcomes(relay, outcomes) == [], cut
        assert sum(one.ambiguous for all_ in outcomes.values() for one in all_ if isinstance(one, Retry)) <= 1, cut

        left = [one for one in EMAILS if not any(isinstance(said, Sent) for said in outcomes[one.message_id])]
        later = carry(line.smtp_url, left) if left else {}
        assert all([type(said) for said in all_] == [Sent] for all_ in later.values()), cut
        assert copies(relay).keys() == {one.message_id for one in EMAILS}, cut


def copies(relay: ScriptedRelay) -> Counter[str]:
    """How often the relay has each email."""
    return Counter(message_id(one.content) for one in relay.emails)


def false_outcomes(relay: ScriptedRelay, outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Emails whose outcome is not true, or that have two."""
    had = copies(relay)
    return [
        f"{name} is {told}, the relay had it {had[name]} times"
        for name, all_ in outcomes.items()
        if had[name] not in POSSIBLE.get(told := in_a_word(all_), ())
    ]


def in_a_word(outcomes: Sequence[Outcome]) -> str:
    match outcomes:
        case [] | [Released()]:
            return "not sent"
        case [Sent()]:
            return "sent"
        case [Retry(ambiguous=True)]:
            return "ambiguous"
        case unforeseen:
            return f"{unforeseen}"


@pytest.mark.parametrize("silent", [False, True], ids=["hangs up", "falls silent"])
@pytest.mark.parametrize("step", [GREETING, EHLO, STARTTLS, AUTH, NOOP, RSET, QUIT])
def test_a_connection_that_fails_outside_an_email_does_not_affect_the_next_one(
    tmp_path: Path, step: str, *, silent: bool
) -> None:
    certificate = Certificate.made(tmp_path)
    with ScriptedRelay(certificate=certificate, credentials=("ann", "secret"), extensions=AT_ONCE) as relay:
        trouble = relay.silent_at if silent else relay.drop_at
        url = f"smtp://ann:secret@127.0.0.1:{relay.port}?starttls=required"

        async def work() -> tuple[Released | None, Outcome, Outcome]:
            opened = channel(url, timeout=SHORT if silent else LONG, certificate=certificate)
            trouble.add(step)
            relay.reply_by_recipient.update({"nobody@example.com": "550 5.1.1 unknown"} if step == RSET else {})
            refused = await opened.open() if step == NOOP else None
            first = await opened.send(EmailAttempt(facts=email_facts(1, to="nobody@example.com")))
            if step == QUIT:
                await opened.close()
            trouble.clear()
            second = await opened.send(EmailAttempt(facts=email_facts(2)))
            await opened.close()
            return refused, first, second

        refused, first, second = asyncio.run(work())

    expected = {RSET: Dead, QUIT: Sent, NOOP: Sent}.get(step, Released)
    assert isinstance(first, expected)
    assert not isinstance(first, Released) or first.blame is Blame.RELAY
    assert (refused is not None) == (step == NOOP)
    assert isinstance(second, Sent)
    before = max(one.connection for one in relay.journal.said if one.step == step and one.connection < last(relay))
    assert relay.emails[-1].connection == last(relay) > before
    assert relay.count(RCPT) == (1 if step in {GREETING, EHLO, STARTTLS, AUTH} else 2)


def last(relay: ScriptedRelay) -> int:
    """The number of the newest connection."""
    return relay.connections
