"""What is known about an email when the connection ends in the middle of its content."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from socket import socket, socketpair
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.channels.email.smtp.connect import Connector
from notify.channels.email.smtp.conversation import Conversation, Dropped, Garbled, Reply, stuffed
from notify.channels.email.smtp.limits import Timeouts
from notify.channels.email.smtp.relay import Relay
from notify.channels.email.smtp.session import Session
from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Blame, Dead, Outcome, Phase, Released
from tests.support.emails import email_facts
from tests.support.smtp import CONTENT, DATA, DOT, RCPT, Answer, ScriptedRelay

T = TypeVar("T")

MORE_THAN_ANY_BUFFER = b"a line of text\r\n" * 1_000_000
SMALL = b"Subject: s\r\n\r\n"
TIMEOUT = timedelta(seconds=20)


async def delivered(session: Session, content: bytes) -> Outcome:
    """The outcome of one email."""
    outcomes: list[Outcome] = []
    one = EmailAttempt(facts=email_facts(), sender="a@example.com", recipient="b@example.com", content=content)
    left = await session.carry(
        one, following=lambda _: None, sent=lambda _: None, ended=lambda _, outcome: outcomes.append(outcome)
    )
    assert left is None
    return outcomes.pop()


def with_session(relay: ScriptedRelay, work: Callable[[Session], Awaitable[Outcome]], **limits: timedelta) -> Outcome:
    async def main() -> Outcome:
        session = await Connector(Relay.from_url(relay.url), timeouts=Timeouts(**limits)).connect()
        assert isinstance(session, Session)
        outcome = await work(session)
        session.abort()
        return outcome

    return asyncio.run(main())


def test_a_drop_before_the_last_block_is_unambiguous() -> None:
    with ScriptedRelay(drop_at={CONTENT}, extensions=()) as relay:
        outcome = with_session(relay, lambda one: delivered(one, MORE_THAN_ANY_BUFFER))
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.RELAY, "relay_dropped")


def test_a_relay_that_stops_reading_is_unambiguous() -> None:
    with ScriptedRelay(extensions=()) as relay:
        relay.pause_at(CONTENT)
        outcome = with_session(
            relay,
            lambda one: delivered(one, MORE_THAN_ANY_BUFFER),
            block=timedelta(milliseconds=200),
        )
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.RELAY, "relay_silent")
    assert relay.emails == []


def test_a_large_email_arrives_whole() -> None:
    with ScriptedRelay(extensions=()) as relay:
        with_session(relay, lambda one: delivered(one, MORE_THAN_ANY_BUFFER))
    assert [one.content for one in relay.emails] == [MORE_THAN_ANY_BUFFER]


def refused_but_asked_for_content(answer_to_nothing: str) -> tuple[Outcome, bool, list[bytes]]:
    """The recipient is refused, yet 354 follows: the outcome, whether the session is usable, and what the relay has."""
    fit = []

    async def work(session: Session) -> Outcome:
        outcome = await delivered(session, SMALL)
        fit.append(session.is_usable)
        return outcome

    answers = {RCPT: "550 5.1.1 unknown", DATA: "354 go ahead", DOT: answer_to_nothing}
    with ScriptedRelay(answers=dict[str, Answer](answers)) as relay:
        outcome = with_session(relay, work)
    return outcome, fit[0], [one.content for one in relay.emails]


def test_a_relay_that_wants_content_after_refusing_the_recipient_gets_an_empty_email() -> None:
    outcome, is_usable, contents = refused_but_asked_for_content("554 5.5.1 no valid recipients")
    assert isinstance(outcome, Dead)
    assert outcome.answer.phase is Phase.RCPT
    assert (is_usable, contents) == (True, [])


def test_a_session_whose_relay_accepts_even_an_empty_email_is_closed() -> None:
    outcome, is_usable, contents = refused_but_asked_for_content("250 2.0.0 taken")
    assert isinstance(outcome, Dead)
    assert (is_usable, contents) == (False, [b""])


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r\n.\r\n"]), max_size=30).map(b"".join))
def test_content_cannot_end_itself(content: bytes) -> None:
    lines = stuffed(content).split(b"\r\n")
    assert lines.index(b".") == len(lines) - 2
    unstuffed = b"\r\n".join(line.removeprefix(b".") for line in lines[:-2]) + b"\r\n"
    assert unstuffed in {content, content + b"\r\n"}


def conversing(work: Callable[[Conversation, socket], Awaitable[T]]) -> T:
    """What the work returns; it gets our side of a connection and the socket at the other end."""

    async def main() -> T:
        ours, theirs = socketpair()
        with closing(theirs):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            conversation = Conversation(transport)
            found = await work(conversation, theirs)
            await conversation.end(within=TIMEOUT)
        return found

    return asyncio.run(main())


def test_a_reply_sent_just_before_hanging_up_is_read() -> None:
    async def work(conversation: Conversation, relay: socket) -> tuple[Reply, Reply]:
        relay.sendall(b"250-one\r\n250 two\r\n552 5.3.4 too much\r\n")
        relay.close()
        first = await conversation.reply(within=TIMEOUT)
        conversation.eof_received()
        conversation.say(b"more\r\n")
        second = await conversation.reply(within=TIMEOUT)
        with pytest.raises(Dropped):
            conversation.say(b"QUIT\r\n")
        with pytest.raises(Dropped):
            await conversation.reply(within=TIMEOUT)
        return first, second

    assert conversing(work) == (Reply(250, "one\ntwo"), Reply(552, "5.3.4 too much"))


def test_nothing_is_accepted_after_an_invalid_reply() -> None:
    async def work(conversation: Conversation, _: socket) -> None:
        conversation.data_received(b"what?\r\n250 2.0.0 the answer to another command\r\n")
        with pytest.raises(Garbled):
            await conversation.reply(within=TIMEOUT)

    conversing(work)


@pytest.mark.parametrize("endless", [b"250-x\r\n" * 100_000, b"250 " + b"x" * 100_000])
def test_an_endless_reply_is_not_kept_in_memory(endless: bytes) -> None:
    async def work(conversation: Conversation, _: socket) -> None:
        conversation.data_received(endless)
        with pytest.raises(Garbled):
            await conversation.reply(within=TIMEOUT)

    conversing(work)


@given(
    replies=st.lists(st.tuples(st.integers(200, 599), st.lists(st.text("ab é-", max_size=5), min_size=1, max_size=3))),
    data=st.data(),
)
def test_replies_are_parsed_however_the_network_splits_them(
    replies: list[tuple[int, list[str]]], data: st.DataObject
) -> None:
    wire = b"".join(
        f"{code}{'-' if number < len(lines) - 1 else ' '}{line}\r\n".encode()
        for code, lines in replies
        for number, line in enumerate(lines)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))

    async def work(conversation: Conversation, _: socket) -> list[Reply]:
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            conversation.data_received(wire[start:end])
        return [await conversation.reply(within=TIMEOUT) for _ in replies]

    assert conversing(work) == [Reply(code, "\n".join(lines)) for code, lines in replies]
