"""Header values read back as they were written, or are refused; nobody can add a header of their own."""

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify.channels.email.writing.headers import (
    FOLD,
    LONGEST_URL,
    LONGEST_WORD,
    MAX_LINE,
    UnusableAddress,
    address,
    mailbox_field,
    text_field,
    token_field,
    url_field,
)
from notify.domain.errors import UnsafeHeader

SAFE = st.characters(blacklist_categories=["Cc", "Cs"])
PROSE = st.text(SAFE, max_size=300)
ANN = address("ann@example.com")


def read(field: bytes) -> EmailMessage:
    """A header block as the standard library parses it."""
    return message_from_bytes(field + b"\r\n", policy=policy.default)


def decoded(raw: str) -> str:
    """A raw header value as mail clients show it."""
    return str(make_header(decode_header(raw.replace("\r\n", ""))))


def raw_value(field: bytes) -> str:
    return field.decode().split(":", maxsplit=1)[1]


@given(PROSE)
@example("plain")
@example("=?utf-8?q?forged?=")
@example("  spaces   kept  ")
@example("a" * 2_000)
@example("word " * 400)
@example("\u202eright to left \u05e9\u05dc\u05d5\u05dd")
@example("\U0001f469\u200d\U0001f469\u200d\U0001f467" * 40)
def test_any_subject_reads_back_unchanged(text: str) -> None:
    assert decoded(raw_value(text_field("Subject", text))[1:]) == text


@given(PROSE)
@example("a" * 2_000)
@example("é" * 2_000)
@example("a" * 68 + "   " + "b" * 77)
def test_no_header_line_exceeds_what_every_reader_accepts(text: str) -> None:
    for field in (text_field("Subject", text), mailbox_field("To", text, ANN)):
        lines = field.removesuffix(b"\r\n").split(b"\r\n")
        assert max(map(len, lines)) <= FOLD
        assert all(line.strip() for line in lines)
        assert all(len(word) <= LONGEST_WORD for line in lines for word in line.split() if word.startswith(b"=?"))


@given(PROSE)
@example('Dana "the knife" O\\Reyes')
@example("Reyes, Dana (QA) <evil@example.com>")
@example("=?utf-8?q?forged?=")
@example("張偉" * 40)
def test_a_name_never_changes_the_address_beside_it(name: str) -> None:
    to = read(mailbox_field("To", name, ANN))["To"]
    assert [one.addr_spec for one in to.addresses] == ["ann@example.com"]


@given(PROSE)
@example('Dana "the knife" O\\Reyes')
@example("Reyes, Dana (QA) <evil@example.com>")
@example("張偉" * 40)
def test_any_name_reads_back_unchanged(name: str) -> None:
    field = mailbox_field("To", name, ANN)
    shown = raw_value(field).replace("\r\n", "").removesuffix("<ann@example.com>").strip(" ")
    if shown.startswith('"'):
        assert read(field)["To"].addresses[0].display_name == name
    else:
        assert decoded(shown) == name


@pytest.mark.parametrize(
    "evil",
    ["a\r\nBcc: eve@example.com", "a\nBcc: eve@example.com", "a\rb", "a\0b", "a\x1bb", "a\x7fb", "a\x85b", "a\ud800b"],
)
def test_a_value_that_could_end_its_header_is_refused(evil: str) -> None:
    with pytest.raises(UnsafeHeader):
        text_field("Subject", evil)
    with pytest.raises(UnsafeHeader):
        token_field("Message-ID", evil)
    with pytest.raises(UnsafeHeader):
        mailbox_field("To", evil, ANN)
    with pytest.raises(UnsafeHeader):
        address(f"{evil}@example.com")


def test_a_token_too_long_for_a_line_is_refused() -> None:
    with pytest.raises(UnsafeHeader):
        token_field("List-Unsubscribe", f"<https://review.example/{'a' * 1_000}>")


@given(st.text(st.sampled_from("abcXYZ019-_./:"), min_size=1, max_size=4_000))
@example("https://review.example/" + "a" * 877)
@example("https://review.example/" + "a" * 878)
def test_an_address_of_any_length_reads_back_and_fits_its_lines(url: str) -> None:
    field = url_field("List-Unsubscribe", url)
    assert all(len(line) <= MAX_LINE for line in field.split(b"\r\n"))
    assert (b"\r\n " in field) == (len(url) > LONGEST_URL)
    value = read(field)["List-Unsubscribe"]
    assert value.defects == ()
    assert "".join(str(value).split()) == f"<{url}>"


@pytest.mark.parametrize(
    ("given_address", "on_the_wire", "international"),
    [
        ("ann@example.com", "ann@example.com", False),
        ("ann+notify@example.com", "ann+notify@example.com", False),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]", False),
        ("a..b@example.com", '"a..b"@example.com', False),
        (".jörg.@example.com", '".jörg."@example.com', True),
        ("ann@bücher.example", "ann@xn--bcher-kva.example", False),
        ("jörg@example.com", "jörg@example.com", True),
        ("jörg@bücher.example", "jörg@xn--bcher-kva.example", True),
        ("ann@straße.example", "ann@xn--strae-oqa.example", False),
    ],
)
def test_only_an_address_beyond_ascii_needs_smtputf8(
    given_address: str, on_the_wire: str, *, international: bool
) -> None:
    found = address(given_address)
    assert (found.text, found.international) == (on_the_wire, international)


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "a b@example.com",
        "ann@exa mple.com",
        "ann>@example.com",
        "ann@example.com>",
        "<ann@example.com>",
        "ann@straße.example>",
        "ann@example.com> SIZE=1",
        "ann,eve@example.com",
        "ann@" + "a" * 64 + ".example",
        "a" * 250 + "@example.com",
    ],
)
def test_an_invalid_address_never_reaches_the_relay(nonsense: str) -> None:
    with pytest.raises(UnusableAddress):
        address(nonsense)
