"""Emails one after another on one session, in every mode and against any relay: none takes another's answer."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from socket import socketpair

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notify.channels.email.smtp.conversation import Conversation
from notify.channels.email.smtp.limits import Timeouts
from notify.channels.email.smtp.session import Session
from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Dead, Outcome, Phase, Released, Retry, Sent
from tests.support.emails import email_facts

TIMEOUT = timedelta(seconds=20)
PIPELINING = {"pipelining": "", "smtputf8": ""}
# The relay's extensions, and its acceptance of RCPT: express requires 250, and switches to careful for anything else.
EXPRESS, CAREFUL, IN_TURN = (PIPELINING, 250), (PIPELINING, 251), ({"smtputf8": ""}, 250)
FACTS = email_facts()
GARBAGE = b"what?\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """
    How the relay treats one email.

    Args:
        refuses: The step that it answers with *code*; null accepts the email.
        extra: The step after whose answer it sends an unexpected reply.
        drops: The step at which it hangs up instead of answering.
        content_for_nobody: It says 354 although it has refused.
        multiline: Its answers have two lines.
    """

    refuses: Phase | None = None
    code: int = 550
    extra: Phase | None = None
    garbage: bool = False
    drops: Phase | None = None
    content_for_nobody: bool = False
    multiline: bool = False


STEPS = st.none() | st.sampled_from([Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.FINAL_DOT])
GOOD = st.builds(Script, multiline=st.booleans())
REFUSING = st.builds(
    Script,
    refuses=STEPS,
    code=st.sampled_from([421, 450, 550]),
    content_for_nobody=st.booleans(),
    multiline=st.booleans(),
)
ODD = st.builds(Script, refuses=STEPS, extra=STEPS, garbage=st.booleans(), drops=STEPS)


@dataclass
class Relay:
    """The other end of one connection; every answer names its email."""

    scripts: Sequence[Script]
    cuts: Sequence[int]
    yes: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    taken: set[int] = field(default_factory=set)
    heard_whole: set[int] = field(default_factory=set)
    number: int = -1
    refused: bool = False
    turns: int = 0

    async def serve(self) -> None:
        while line := await self.heard(self.reader.readline()):
            verb = line.split()[0].upper()
            if verb == b"MAIL":
                self.number = int(line.partition(b"<from-")[2].partition(b"@")[0])
                self.refused = False
                await self.step(Phase.MAIL, 250)
            elif verb == b"RCPT":
                await self.step(Phase.RCPT, 503 if self.refused else self.yes)
            elif verb == b"DATA":
                await self.data()
            else:
                await self.say(b"250 2.0.0 " + verb + b"\r\n")

    async def heard(self, reading: Coroutine[None, None, bytes]) -> bytes:
        """The next bytes; a turn is over when they have to be waited for."""
        task = asyncio.create_task(reading)
        await asyncio.sleep(0)
        self.turns += not task.done()
        return await task

    async def data(self) -> None:
        script = self.scripts[self.number]
        if self.refused and not script.content_for_nobody:
            await self.say(self.reply(503))
        elif await self.step(Phase.DATA, 354):
            content = await self.heard(self.reader.readuntil(b".\r\n"))
            if content == b".\r\n":
                await self.say(self.reply(554))
                return
            self.heard_whole.add(self.number)
            if Phase.FINAL_DOT not in {script.refuses, script.drops}:
                self.taken.add(self.number)  # before the reply: a client that has read it may hang up
            await self.step(Phase.FINAL_DOT, 250)

    async def step(self, step: Phase, code: int) -> bool:
        """Answer as the script says; whether it was an acceptance."""
        script = self.scripts[self.number]
        if script.drops is step:
            self.writer.close()
            raise ConnectionResetError
        refuses = script.refuses is step
        self.refused = self.refused or refuses
        extra = (GARBAGE if script.garbage else b"250 2.0.0 unasked\r\n") if script.extra is step else b""
        answer = self.reply(script.code if refuses else code) + extra
        # An unexpected reply after 354 must arrive with it: later nobody could tell it from the answer to the content.
        await self.say(answer, whole=bool(extra) and step is Phase.DATA)
        return not refuses

    def reply(self, code: int) -> bytes:
        words = f"email-{self.number}."
        return (f"{code}-{words}\r\n" if self.scripts[self.number].multiline else "").encode() + (
            f"{code} {words}\r\n".encode()
        )

    async def say(self, answer: bytes, *, whole: bool = False) -> None:
        """Send it in pieces, as networks deliver it."""
        ends = sorted({min(cut, len(answer)) for cut in self.cuts} | {len(answer)})
        start = 0
        for end in [len(answer)] if whole else ends:
            self.writer.write(answer[start:end])
            await self.writer.drain()
            await asyncio.sleep(0)
            start = end


async def carried(
    scripts: Sequence[Script], cuts: Sequence[int], way: tuple[dict[str, str], int]
) -> tuple[dict[int, Outcome], int | None, Relay]:
    """The outcome of each email, the one that was left over, and what the relay knows."""
    ours, theirs = socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    extensions, yes = way
    relay = Relay(scripts, cuts, yes, reader, writer)
    serving = asyncio.create_task(relay.serve())
    session = Session(Conversation(transport), extensions=extensions, timeouts=Timeouts.all(TIMEOUT), opened_at=0.0)
    outcomes: dict[int, Outcome] = {}

    def ended(email: EmailAttempt, outcome: Outcome) -> None:
        number = emails.index(email)
        assert outcomes.setdefault(number, outcome) is outcome

    emails = [
        EmailAttempt(facts=FACTS, sender=f"from-{n}@example.com", recipient="to@example.com", content=b"x\r\n")
        for n in range(len(scripts))
    ]
    waiting = iter(emails[1:])
    left = await session.carry(
        emails[0],
        following=lambda _: next(waiting, None),
        sent=lambda email: ended(email, Sent(answer=email.answer)),
        ended=ended,
    )
    session.abort()
    writer.close()
    await asyncio.gather(serving, return_exceptions=True)
    return outcomes, None if left is None else emails.index(left), relay


ways = pytest.mark.parametrize("way", [EXPRESS, CAREFUL, IN_TURN], ids=["express", "careful", "in turn"])


@ways
@settings(max_examples=300, deadline=None)
@given(
    scripts=st.lists(GOOD | REFUSING | ODD, min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 40), max_size=3),
)
@example(scripts=[Script(), Script(extra=Phase.FINAL_DOT), Script(), Script()], cuts=[])
@example(scripts=[Script(), Script(drops=Phase.MAIL), Script()], cuts=[3])
@example(scripts=[Script(drops=Phase.FINAL_DOT), Script()], cuts=[])
@example(scripts=[Script(extra=Phase.FINAL_DOT)], cuts=[1, 15, 16])
@example(scripts=[Script(extra=Phase.DATA), Script()], cuts=[])
@example(scripts=[Script(refuses=Phase.RCPT, content_for_nobody=True), Script()], cuts=[5])
def test_no_email_takes_anothers_answer(
    way: tuple[dict[str, str], int], scripts: Sequence[Script], cuts: Sequence[int]
) -> None:
    outcomes, left, relay = asyncio.run(carried(scripts, cuts, way))

    assert left not in outcomes
    begun = {*outcomes, *({left} if left is not None else ())}
    assert begun == set(range(len(begun)))
    for number, outcome in outcomes.items():
        match outcome:
            case Sent(answer=answer):
                assert f"email-{number}." in answer.text
                assert number in relay.taken
            case Retry(ambiguous=True):
                assert number in relay.heard_whole
            case Released() | Retry() | Dead():
                assert number not in relay.taken
            case _:
                raise AssertionError(outcome)
    if left is not None:
        assert left not in relay.heard_whole


@ways
@given(scripts=st.lists(GOOD, min_size=2, max_size=20), cuts=st.lists(st.integers(1, 40), max_size=3))
@settings(max_examples=50, deadline=None)
def test_a_conforming_relay_gets_every_email_on_one_session(
    way: tuple[dict[str, str], int], scripts: Sequence[Script], cuts: Sequence[int]
) -> None:
    outcomes, left, relay = asyncio.run(carried(scripts, cuts, way))

    assert left is None
    assert len(outcomes) == len(scripts)
    assert relay.taken == set(outcomes)


@pytest.mark.parametrize("way", [EXPRESS, CAREFUL], ids=["express", "careful"])
def test_an_email_costs_one_round_trip(way: tuple[dict[str, str], int]) -> None:
    outcomes, _, relay = asyncio.run(carried([Script()] * 10, [], way))

    assert relay.taken == set(outcomes) == set(range(10))
    assert relay.turns == 10 + 1  # the first envelope goes alone


@ways
def test_an_email_whose_session_ended_with_the_previous_email_is_left_over_without_blame(
    way: tuple[dict[str, str], int],
) -> None:
    outcomes, left, relay = asyncio.run(carried([Script(), Script(drops=Phase.MAIL), Script()], [], way))

    assert (set(outcomes), left, relay.taken) == ({0}, 1, {0})
