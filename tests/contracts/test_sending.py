"""
How emails are sent in every mode: express, careful, or one command at a time without PIPELINING.

The relay decides the mode: express requires exactly 250 and 354, while 251 to RCPT is as good an acceptance.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

import pytest

from notify.channels.email.channel import EmailChannel
from notify.channels.email.smtp.relay import Relay
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.measures import Measure
from notify.domain.outcomes import (
    Answer,
    Blame,
    Dead,
    Expired,
    Outcome,
    Phase,
    Released,
    Retry,
    Sent,
    Skipped,
    Withdrawn,
)
from tests.support.emails import NOON, composer, email_facts
from tests.support.smtp import DATA, DOT, MAIL, RCPT, ClientLine, ScriptedRelay

LONG, SHORT = timedelta(seconds=20), timedelta(seconds=0.4)
EMAILS, ODD_ONE = 6, 3
WRITER = composer()


class Way(Enum):
    EXPRESS = "express"
    CAREFUL = "careful"
    IN_TURN = "in turn"


ways = pytest.mark.parametrize("way", Way, ids=lambda way: way.value)


@dataclass
class Script:
    """
    How the relay answers the third email, once; it accepts all others.

    Args:
        at: The step with the other answer.
        says: That answer; the empty string is silence.
        drops: It hangs up instead.
    """

    at: str = ""
    says: str = ""
    drops: bool = False
    yes: str | None = None
    relay: ScriptedRelay = field(init=False)
    begun: int = 0
    fired: bool = False

    def __call__(self, said: ClientLine) -> str | None:
        self.begun += said.step == MAIL
        self.relay.drop_at.clear()
        self.relay.silent_at.clear()
        if said.step != self.at or self.begun != ODD_ONE or self.fired:
            is_refused = self.fired and self.at == MAIL and self.begun == ODD_ONE
            return self.yes if said.step == RCPT and not is_refused else None
        self.fired = True
        if not self.says:
            (self.relay.drop_at if self.drops else self.relay.silent_at).add(said.step)
        return self.says


@dataclass
class Run:
    """The outcomes of emails that share one session, and what the relay has."""

    emails: Sequence[EmailAttempt]
    relay: ScriptedRelay
    timeout: timedelta = LONG
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        left = list(self.emails)
        asyncio.run(self._carried(left))
        self.taken = Counter(one.recipient for one in self.relay.emails)

    async def _carried(self, left: list[EmailAttempt]) -> None:
        channel = EmailChannel(
            Relay.from_url(self.relay.url),
            WRITER,
            bounce_address="bounces@example.com",
            sessions=1,
            timeout=self.timeout,
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            now=lambda: NOON,
            count=self._count,
        )
        while left:
            await channel.carry(
                left.pop(0), following=lambda _: left.pop(0) if left else None, sent=self._sent, ended=self._ended
            )
        await channel.close()

    def _sent(self, email: EmailAttempt) -> None:
        self._ended(email, Sent(answer=email.answer))

    def _ended(self, email: EmailAttempt, outcome: Outcome) -> None:
        name = email.facts.to_email
        assert name not in self.outcomes
        self.outcomes[name] = outcome

    def _count(self, measure: Measure, label: str, seconds: float = 0.0) -> None:
        assert measure is Measure.SMTP
        assert seconds >= 0
        self.phases[label] += 1


def emails(count: int = EMAILS) -> list[EmailAttempt]:
    return [EmailAttempt(facts=email_facts(number, to=f"{number}@example.com")) for number in range(1, count + 1)]


def speaking(way: Way, script: Script) -> ScriptedRelay:
    """A relay that makes emails go this way."""
    offers = ("8BITMIME", "SIZE 20000") if way is Way.IN_TURN else ("8BITMIME", "SIZE 20000", "PIPELINING")
    script.yes = "251 2.1.5 will forward" if way is Way.CAREFUL else None
    script.relay = ScriptedRelay(extensions=offers, answers=dict.fromkeys((MAIL, RCPT, DATA, DOT), script))
    return script.relay


def odd_one(run: Run) -> Outcome:
    """The outcome of the third email; all others were sent once."""
    odd = run.emails[ODD_ONE - 1].facts.to_email
    others = {name: outcome for name, outcome in run.outcomes.items() if name != odd}
    assert [in_short(outcome) for outcome in others.values()] == [(Sent, "", Phase.FINAL_DOT)] * (len(run.emails) - 1)
    assert all(run.taken[name] == 1 for name in others)
    return run.outcomes[odd]


def in_short(outcome: Outcome) -> tuple[type, str, Phase | None]:
    match outcome:
        case Sent(answer=Answer(phase=phase)):
            return Sent, "", phase
        case Retry() | Dead() | Released():
            return type(outcome), outcome.reason, outcome.answer.phase if outcome.answer else None
        case Skipped(reason=reason):
            return Skipped, reason, None
        case Expired() | Withdrawn():
            return type(outcome), "", None


@ways
def test_accepted_emails_share_one_session(way: Way) -> None:
    with speaking(way, Script()) as relay:
        run = Run(emails(), relay)
    assert [in_short(outcome) for outcome in run.outcomes.values()] == [(Sent, "", Phase.FINAL_DOT)] * EMAILS
    assert list(run.outcomes) == [one.facts.to_email for one in run.emails]
    assert (relay.connections, set(run.taken.values())) == (1, {1})
    assert [one.content for one in relay.emails] == [WRITER.compose(one.facts, date=NOON).content for one in run.emails]
    assert run.phases["final_dot"] == EMAILS
    # The first is always sent carefully; express takes the answers to the other envelopes if nobody waits.
    assert run.phases["rcpt"] == (1 if way is Way.EXPRESS else EMAILS)


@ways
@pytest.mark.parametrize(
    ("at", "says", "expected"),
    [
        (MAIL, "451 4.3.0 try later", (Retry, "later", Phase.MAIL)),
        (MAIL, "550 5.7.1 sender rejected", (Released, "sender_refused", Phase.MAIL)),
        (RCPT, "550 5.1.1 unknown", (Dead, "refused", Phase.RCPT)),
        (RCPT, "450 4.2.0 greylisted", (Retry, "later", Phase.RCPT)),
        (RCPT, "452 4.2.2 mailbox full", (Retry, "mailbox_full", Phase.RCPT)),
        (RCPT, "550-5.1.1 unknown\r\n550 5.1.1 indeed", (Dead, "refused", Phase.RCPT)),
        (DATA, "451 4.3.0 try later", (Retry, "later", Phase.DATA)),
        (DATA, "554 5.6.0 not this", (Dead, "refused", Phase.DATA)),
        (DOT, "554 5.6.0 not this", (Dead, "refused", Phase.FINAL_DOT)),
        (DOT, "554 5.7.1 policy", (Retry, "policy", Phase.FINAL_DOT)),
        (DOT, "552 5.3.4 too large for us", (Retry, "oversize", Phase.FINAL_DOT)),
        (DOT, "451 4.3.0 try later", (Retry, "later", Phase.FINAL_DOT)),
        (DOT, "550 5.7.60 client may not send as this sender", (Released, "sender_refused", Phase.FINAL_DOT)),
        (DOT, "252 2.0.0 taken, perhaps", (Sent, "", Phase.FINAL_DOT)),
        (DOT, "250-2.0.0 taken\r\n250 2.0.0 indeed", (Sent, "", Phase.FINAL_DOT)),
    ],
)
def test_a_refusal_concerns_only_its_email_and_the_session_continues(
    way: Way, at: str, says: str, expected: tuple[type, str, Phase]
) -> None:
    with speaking(way, Script(at=at, says=says)) as relay:
        run = Run(emails(), relay)
    assert in_short(odd_one(run)) == expected
    assert relay.connections == 1
    assert run.taken["3@example.com"] == (expected[0] is Sent)


@ways
@pytest.mark.parametrize("at", [MAIL, RCPT, DATA, DOT])
@pytest.mark.parametrize("ends", ["closes", "hangs up", "falls silent", "says nonsense"])
def test_a_relay_that_closes_the_session_affects_at_most_one_email(way: Way, at: str, ends: str) -> None:
    says = {"closes": "421 4.3.2 closing", "says nonsense": "what?"}.get(ends, "")
    script = Script(at=at, says=says, drops=ends == "hangs up")
    with speaking(way, script) as relay:
        run = Run(emails(), relay, timeout=SHORT if ends == "falls silent" else LONG)
    outcome = odd_one(run)
    is_between_two = at == MAIL and ends in {"closes", "hangs up"}
    if is_between_two:
        assert in_short(outcome) == (Sent, "", Phase.FINAL_DOT)  # over the next session; nobody is to blame
    elif at == DOT and ends != "closes":
        assert in_short(outcome) == (Retry, "no_final_answer", Phase.FINAL_DOT)
        assert isinstance(outcome, Retry)
        assert outcome.ambiguous
    else:
        assert isinstance(outcome, Released)
        assert outcome.blame in {Blame.RELAY, Blame.THROTTLE}
    assert relay.connections == 2
    assert run.taken["3@example.com"] <= 1


@ways
def test_an_email_whose_lease_has_run_out_does_not_reach_the_relay_and_delays_no_other(way: Way) -> None:
    waiting = emails()
    waiting[ODD_ONE - 1].leased_until = 0.0
    with speaking(way, Script()) as relay:
        run = Run(waiting, relay)
    assert in_short(odd_one(run)) == (Released, "lease_lost", None)
    assert run.taken["3@example.com"] == 0
    assert not any(b"3@example.com" in transfer.content for transfer in relay.transfers)


@ways
@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (email_facts(3, to="3@example.com", comment={"body": "word " * 6_000}), (Dead, "oversize", Phase.MAIL)),
        (email_facts(3, to="drei@müller.example"), (Sent, "", Phase.FINAL_DOT)),
        (email_facts(3, to="dreiß@example.com"), (Dead, "smtputf8_not_offered", Phase.MAIL)),
        (email_facts(3, to="nobody"), (Skipped, "bad_address", None)),
        (replace(email_facts(3, to="3@example.com"), message_id="a\r\nb"), (Dead, "unsafe_header", Phase.RENDER)),
    ],
    ids=["too large", "foreign domain", "foreign name", "no address", "unsafe"],
)
def test_an_email_that_cannot_be_sent_delays_no_other(
    way: Way, odd: EmailFacts, expected: tuple[type, str, Phase | None]
) -> None:
    waiting = emails()
    waiting[ODD_ONE - 1] = EmailAttempt(facts=odd)
    with speaking(way, Script()) as relay:
        run = Run(waiting, relay)
        assert relay.connections == 1
    assert in_short(odd_one(run)) == expected


@ways
def test_when_a_session_is_killed_one_email_is_in_doubt_and_those_before_it_have_been_reported(way: Way) -> None:
    """The relay is paused at its answer to the third content, then at its answer to the fourth envelope."""
    for step, sent, contents in ((DOT, 2, 3), (RCPT, 3, 3)):
        script = Script()
        with speaking(way, script) as relay:
            run = Stopped(relay, step=step)
        assert (len(run.outcomes), len(relay.transfers)) == (sent, contents)


class Stopped:
    """A run that is cancelled when the relay has received this step of the third email, or of the fourth for RCPT."""

    def __init__(self, relay: ScriptedRelay, *, step: str) -> None:
        self.outcomes: list[Outcome] = []
        self._relay, self._step = relay, step
        asyncio.run(self._killed())

    async def _killed(self) -> None:
        left = emails()
        channel = EmailChannel(
            Relay.from_url(self._relay.url), WRITER, bounce_address="bounces@example.com", sessions=1, timeout=LONG
        )
        wanted = {DOT: 3, RCPT: 4}[self._step]
        before = self._relay.answers[self._step]
        told = asyncio.Event()
        loop = asyncio.get_running_loop()

        def block(said: ClientLine) -> str | None:
            if self._relay.count(self._step) == wanted:
                loop.call_soon_threadsafe(told.set)
                self._relay.silent_at.add(self._step)
                return None
            return before(said) if callable(before) else before

        self._relay.answers[self._step] = block
        carrying = asyncio.create_task(
            channel.carry(
                left.pop(0),
                following=lambda _: left.pop(0) if left else None,
                sent=lambda email: self.outcomes.append(Sent(answer=email.answer)),
                ended=lambda _, outcome: self.outcomes.append(outcome),
            )
        )
        await told.wait()
        await self._settled()
        carrying.cancel()
        await asyncio.wait([carrying])
        self.outcomes = [one for one in self.outcomes if isinstance(one, Sent)]

    async def _settled(self) -> None:
        """Return when everything that the relay sent so far has been read."""
        for _ in range(20):
            await asyncio.sleep(0)
