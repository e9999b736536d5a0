"""Bodies read back as they were written, whatever they hold, through any seven-bit relay."""

from email import message_from_bytes, policy
from re import sub

from hypothesis import example, given, settings
from hypothesis import strategies as st

from notify.channels.email.writing.message import Transfer, assemble, cheapest, finish, share

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


def letter(*, text: tuple[str, str], html: tuple[str, str]) -> bytes:
    """A letter whose parts each have a shared beginning and an ending of their own."""
    return assemble(b"Subject: s\r\n", text=finish(share(text[0]), text[1]), html=finish(share(html[0]), html[1]))


def bodies(content: bytes) -> tuple[str, str]:
    """Text and HTML as the standard library reads them, with LF line ends."""
    parts = list(message_from_bytes(content, policy=policy.SMTP).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert not any(part.defects for part in parts)
    text, html = (part.get_payload(decode=True) for part in parts)
    assert isinstance(text, bytes)
    assert isinstance(html, bytes)
    return text.decode().replace("\r\n", "\n"), html.decode().replace("\r\n", "\n")


def expected(body: str) -> str:
    return sub(r"[\ud800-\udfff]", "\ufffd", sub(r"\r\n|\r|\n", "\n", body))


@given(BODY | TRICKS, BODY | TRICKS, BODY | TRICKS)
@example(".\n..\n.leading\n", "a" * 5_000, "\n.\n")
@example("=_notify", "--=_notify--", "\r\n--=_notify--\r\n")
@example("שלום \u202e", "trailing space ", "tab\t")
@example("half \ud800 a pair", "", "")
@example("a\r", "\nb", "")
def test_any_body_reads_back_as_it_was(beginning: str, ending: str, html: str) -> None:
    content = letter(text=(beginning, ending), html=(html, ending))
    text_end = expected(beginning) + expected(ending)
    assert bodies(content) == (text_end, expected(html) + expected(ending))


@given(BODY | TRICKS, BODY | TRICKS)
@example("a" * 5_000, "b" * 5_000)
@example("é" * 5_000, "張" * 5_000)
def test_every_relay_can_carry_every_line(text: str, html: str) -> None:
    content = letter(text=(text, text), html=(html, html))
    assert content.isascii()
    assert content.replace(b"\r\n", b"").translate(None, b"\r\n") == content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998


@settings(max_examples=5, deadline=None)
@given(st.sampled_from(["x", "é", "張", "😀", "line of text\n", "=", "\u0590 "]))
def test_a_hundred_kilobytes_read_back_as_they_were(piece: str) -> None:
    body = piece * (100_000 // len(piece.encode()))
    assert bodies(letter(text=(body, "end"), html=(body, ""))) == (body + "end", body)


def test_a_body_costs_no_more_than_it_must() -> None:
    assert cheapest(b"Short and plain.\n") is Transfer.SEVEN_BIT
    assert cheapest("Größtenteils ASCII, mit Umlauten.\n".encode()) is Transfer.QUOTED
    assert cheapest("張偉在評論\n".encode()) is Transfer.BASE64
    assert cheapest(b"a" * 999) is not Transfer.SEVEN_BIT


@given(BODY | TRICKS, BODY | TRICKS)
@example("Plain.\n", "Ein Grüß.\n")
@example("Plain.\n", "張偉在評論\n")
def test_the_beginning_of_a_part_is_encoded_once_for_all_that_end_as_was_said(beginning: str, ending: str) -> None:
    shared = share(beginning, before=ending)
    part = finish(shared, ending)
    assert f": {shared.transfer}\r\n\r\n".encode() + shared.encoded in part
    content = assemble(b"Subject: s\r\n", text=part, html=part)
    assert bodies(content) == (expected(beginning) + expected(ending),) * 2


def test_the_same_letter_has_the_same_bytes_at_every_try() -> None:
    parts = {"text": ("begins é ", "ends"), "html": ("<p>", "</p>")}
    assert letter(**parts) == letter(**parts)
