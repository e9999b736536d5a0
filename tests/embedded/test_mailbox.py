"""Reading caught emails: the text that a person would see, and no bytes that break the reader."""

from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.embedded.mailbox import UNREADABLE, read

HEADER_VALUES = st.sampled_from(
    [
        b"=?utf-8?b?gruesse?=",
        b"=?utf-8?b?4pyT?=",
        b"=?no-such-charset?q?=FF?=",
        b"=?\x00?q?x?=",
        b"multipart/mixed; boundary=b",
        b"multipart/alternative; boundary=b; charset=\xff",
        b"text/html; charset=no-such-charset",
        b"text/plain; charset*=utf-8''%FF",
        b'text/plain; charset="a\x00b"',
        b"message/rfc822",
        b"base64",
        b"x-uuencode",
        b"attachment; filename*0*=%FF",
        b'"<@a,b:>" <<<',
    ]
)
HEADER_NAMES = st.sampled_from(
    [b"From", b"Subject", b"Content-Type", b"Content-Transfer-Encoding", b"Content-Disposition"]
)
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES | st.binary(max_size=40)).map(b": ".join), max_size=6)
BODIES = st.lists(st.sampled_from([b"--b", b"--b--", b"begin 644 x"]) | st.binary(max_size=40), max_size=8)


def test_the_text_is_shown_as_it_was_written() -> None:
    written = EmailMessage()
    written["From"] = "Zoë <zoe@example.com>"
    written["Subject"] = "Grüße ✓"
    written.set_content("Text ✓\n")
    written.add_alternative("<p>HTML ✓</p>", subtype="html")
    email = read(written.as_bytes())
    assert (email.sender, email.header("subject")) == ("Zoë", "Grüße ✓")
    assert (email.text, email.html.strip()) == ("Text ✓\n", "<p>HTML ✓</p>")


def test_raw_utf_8_in_headers_is_readable() -> None:
    assert read("Subject: Grüße\r\n\r\n".encode()).header("Subject") == "Grüße"


def test_an_attachment_is_not_shown_as_the_text() -> None:
    written = EmailMessage()
    written.set_content("The email.")
    written.add_attachment("<p>Not the email.</p>", subtype="html", filename="page.html")
    assert read(written.as_bytes()).html == ""


def test_an_email_nested_too_deeply_says_where_it_can_be_read() -> None:
    nested = b"Subject: deep\r\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (depth, depth) for depth in range(3000)
    )
    assert read(nested).text == UNREADABLE


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
def test_a_body_with_a_broken_encoding_is_shown_as_far_as_possible(encoding: str) -> None:
    content = f"Content-Transfer-Encoding: {encoding}\r\n\r\n=ZZ\xff!!".encode("latin-1")
    assert isinstance(read(content).text, str)


@given(headers=HEADERS, body=BODIES)
def test_no_email_breaks_the_reader(headers: list[bytes], body: list[bytes]) -> None:
    email = read(b"\r\n".join([*headers, b"", *body]))
    assert all("\n" not in value for _, value in email.headers)
    assert isinstance(email.sender, str)


@given(st.binary())
def test_no_bytes_break_the_reader(content: bytes) -> None:
    assert isinstance(read(content).text, str)
