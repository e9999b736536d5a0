"""One grammar for addresses: what a door accepts reaches the wire unchanged, and nothing else gets in."""

from email import message_from_string, policy

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from notify.api.schemas import Address
from notify.domain.grammar import is_address
from notify.domain.outcomes import Outcome, Sent, Skipped
from tests.channels.email.test_channel import channel, send
from tests.support.emails import NOON, composer, email_facts
from tests.support.smtp import ScriptedRelay

COMPOSER = composer()
DOOR = TypeAdapter[str](Address)
DOTS_AS_SOME_CARRIERS_GAVE_THEM = ["taro..y.@docomo.example", ".hanako@docomo.example", "a...@ezweb.example"]

ATOMS = st.text(st.sampled_from("abzAZ09!#$%&'*+-/=?^_`{|}~"), min_size=1, max_size=12)
CHARACTERS = st.text(st.sampled_from("aé日ßжन्ا-1"), min_size=1, max_size=12)
LOCAL_PARTS = st.lists(st.one_of(ATOMS, CHARACTERS, st.just("")), min_size=1, max_size=4).map(".".join)
DOMAINS = st.one_of(
    st.lists(st.one_of(CHARACTERS, st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)), min_size=1, max_size=4).map(
        ".".join
    ),
    st.sampled_from(["localhost", "example.com.", "a_b.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[192.0.2.300]"]),
)
LIKE_ADDRESSES = st.one_of(
    st.tuples(LOCAL_PARTS, DOMAINS).map("@".join),
    st.text(st.sampled_from('aé@."\\ <>,;:()[]\t\r\n\u200b\u202e\u00a0\ufeff%s'), max_size=20),
    st.emails(),
)


def taken(text: str) -> bool:
    """Whether every door accepts it."""
    try:
        DOOR.validate_python(text)
    except ValidationError:
        return False
    return True


@given(LIKE_ADDRESSES)
@settings(max_examples=300)
@example("taro..y.@docomo.example")
@example("jörg..x@bücher.example")
@example("a" * 63 + ".@example.com")
@example("é" * 33 + "@example.com")
def test_an_accepted_address_can_be_written_and_reads_back(text: str) -> None:
    if not taken(text):
        return
    assert is_address(text)
    composed = COMPOSER.compose(email_facts(to=text), date=NOON)
    head = composed.content.partition(b"\r\n\r\n")[0].decode()
    (to,) = message_from_string(head, policy=policy.SMTPUTF8)["To"].addresses
    assert to.username == text.rpartition("@")[0]
    assert len(composed.recipient.encode()) <= 254
    assert len(composed.recipient.rpartition("@")[0].encode()) <= 64


@given(st.lists(LIKE_ADDRESSES.filter(taken), min_size=10, max_size=15))
@settings(max_examples=2, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_an_accepted_address_is_the_one_that_the_relay_receives(addresses: list[str]) -> None:
    with ScriptedRelay() as relay:
        outcomes = send(channel(relay), *(email_facts(number, to=to) for number, to in enumerate(addresses, start=1)))
        heard = [received.recipient for received in relay.emails]
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert heard == [COMPOSER.compose(email_facts(to=to), date=NOON).recipient for to in addresses]


@pytest.mark.parametrize("address", DOTS_AS_SOME_CARRIERS_GAVE_THEM)
def test_dots_that_need_quotes_reach_the_relay_in_quotes(address: str) -> None:
    local, _, domain = address.partition("@")
    with ScriptedRelay() as relay:
        send(channel(relay), email_facts(to=address))
        (received,) = relay.emails
    assert received.recipient == f'"{local}"@{domain}'


@pytest.mark.parametrize(
    "none",
    [
        "",
        "dana",
        "@example.com",
        "dana@",
        "dana@example..com",
        "dana@example.com.",
        "dana@.example.com",
        "dana@exa_mple.com",
        "dana@-example.com",
        "dana@[192.0.2.300]",
        "dana@[example.com]",
        "da na@example.com",
        '"dana"@example.com',
        "da\u202ena@example.com",
        "da\u00a0na@example.com",
        "dana@exam\u200bple.com",
        "dana@" + "ü" * 62 + ".example",
        "é" * 33 + "@example.com",
        "." * 63 + "@example.com",
    ],
    ids=ascii,
)
def test_an_invalid_address_is_refused_at_every_door(none: str) -> None:
    assert not taken(none)


@pytest.mark.parametrize("none", ["dana", "dana@example.com> SIZE=1", "dana@" + "ü" * 62 + ".example"], ids=ascii)
def test_an_email_to_an_invalid_address_is_skipped_without_marking_the_address(none: str) -> None:
    with ScriptedRelay() as relay:
        outcomes: list[Outcome] = send(channel(relay), email_facts(to=none))
        assert relay.connections == 0
    assert outcomes == [Skipped(reason="bad_address")]
