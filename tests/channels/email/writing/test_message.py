"""Bodies read back as they were written, whatever they contain, through any seven-bit relay."""

from itertools import zip_longest
from re import sub

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from notify.channels.email.writing.message import (
    LONGEST_VALUE,
    Transfer,
    assemble,
    assemble_pieces,
    cheapest,
    part,
    quoted,
    spliced,
)
from tests.support.messages import parsed

BODY = st.text(st.characters(), max_size=400)
TRICKS = st.lists(
    st.sampled_from(
        [
            "\r",
            "\n",
            "\r\n",
            ".",
            "=",
            "=_notify",
            "--=_notify--",
            " ",
            "\t",
            "From ",
            "é",
            "張",
            "😀",
            "\0",
            "-- ",
            "a" * 90,
        ]
    ),
    max_size=40,
).map("".join)


VALUE = st.text("abcXYZ012-_./:~", min_size=1, max_size=LONGEST_VALUE)


def content_of(*, text: str, html: str) -> bytes:
    return assemble(b"Subject: s\r\n", text=part(text), html=part(html))


def bodies(content: bytes) -> tuple[str, str]:
    """Text and HTML as the standard library parses them, with LF line ends."""
    parts = list(parsed(content).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert not any(part.defects for part in parts)
    text, html = (part.get_payload(decode=True) for part in parts)
    assert isinstance(text, bytes)
    assert isinstance(html, bytes)
    return text.decode().replace("\r\n", "\n"), html.decode().replace("\r\n", "\n")


def expected(body: str) -> str:
    return sub(r"[\ud800-\udfff]", "\ufffd", sub(r"\r\n|\r|\n", "\n", body))


@given(BODY | TRICKS, BODY | TRICKS)
@example(".\n..\n.leading\n" + "a" * 5_000, "\n.\n")
@example("=_notify--=_notify--", "\r\n--=_notify--\r\n")
@example("שלום \u202etrailing space ", "tab\t")
@example("half \ud800 a pair", "")
@example("a\r", "\nb")
def test_any_body_reads_back_unchanged(text: str, html: str) -> None:
    assert bodies(content_of(text=text, html=html)) == (expected(text), expected(html))


@given(BODY | TRICKS, BODY | TRICKS)
@example("a" * 5_000, "b" * 5_000)
@example("é" * 5_000, "張" * 5_000)
def test_every_relay_can_transport_every_line(text: str, html: str) -> None:
    carried_by_every_relay(content_of(text=text * 2, html=html * 2))


def carried_by_every_relay(content: bytes) -> None:
    assert content.isascii()
    assert content.replace(b"\r\n", b"").translate(None, b"\r\n") == content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998


@settings(max_examples=300)
@given(
    pieces=st.lists(st.text(st.characters(max_codepoint=0xFF), max_size=200) | TRICKS, min_size=1, max_size=4),
    values=st.lists(VALUE, min_size=3, max_size=3),
)
@example(pieces=["é" + "a" * 75, "\nb", ""], values=["x" * 75, "y" * 76, "z"])
@example(pieces=["é" + "a" * 74, "", " \n"], values=["x" * 74, "y" * 600, "z"])
@example(pieces=["é" + "a" * 68 + " \n"], values=["x", "y", "z"])
@example(pieces=["é" + "a" * 69 + "\t\n", "b"], values=["x", "y", "z"])
@example(pieces=["é: ", " \n", " "], values=["x", "y", "z"])
@example(pieces=["a" * 300, "b" * 99], values=["x" * 600, "y", "z"])
def test_a_part_in_pieces_reads_like_a_whole_one(pieces: list[str], values: list[str]) -> None:
    made = spliced(pieces)
    assume(made is not None)
    assert made is not None
    links = [quoted(value.encode()) if made.is_quoted else value.encode() for value in values[: len(pieces) - 1]]
    message = assemble_pieces(b"Subject: s\r\n", text=made, html=made)
    content = b"".join(piece + value for piece, value in zip_longest(message, links * 2, fillvalue=b""))
    whole = "".join(
        expected(piece) + value for piece, value in zip_longest(pieces, values[: len(pieces) - 1], fillvalue="")
    )
    assert bodies(content) == (whole, whole)
    carried_by_every_relay(content)
    if made.is_quoted:
        assert max(map(len, content.split(b"\r\n"))) <= 76


@settings(max_examples=5, deadline=None)
@given(st.sampled_from(["x", "é", "張", "😀", "line of text\n", "=", "\u0590 "]))
def test_a_hundred_kilobytes_read_back_unchanged(piece: str) -> None:
    body = piece * (100_000 // len(piece.encode()))
    assert bodies(content_of(text=body + "end", html=body)) == (body + "end", body)


def test_a_body_uses_the_smallest_encoding() -> None:
    assert cheapest(b"Short and plain.\n") is Transfer.SEVEN_BIT
    assert cheapest("Größtenteils ASCII, mit Umlauten.\n".encode()) is Transfer.QUOTED
    assert cheapest("張偉在評論\n".encode()) is Transfer.BASE64
    assert cheapest(b"a" * 999) is not Transfer.SEVEN_BIT
