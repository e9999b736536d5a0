"""What a caught letter says, read so that no sequence of bytes can stop the reader."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr

WHOLE_MESSAGE = "message/"
TOO_TANGLED = "This letter is nested too deeply to be taken apart; see the raw view."


@dataclass(frozen=True, slots=True)
class Letter:
    """
    A letter as a person reads it.

    Attributes:
        headers: Names and decoded values, in the letter's order; the first two are the catcher's own:
            Return-Path and Delivered-To, the sender and the recipients of the envelope.
        text: The first text part; empty if there is none.
        html: The first HTML part; empty if there is none.
    """

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str

    def header(self, name: str) -> str:
        """The first value under this name; empty if there is none."""
        return next((value for one, value in self.headers if one.lower() == name.lower()), "")

    @property
    def writer(self) -> str:
        """The name in From, else its address; empty if there is neither."""
        name, address = parseaddr(self.header("From"))
        return name or address


def read(content: bytes) -> Letter:
    """The letter in these bytes; of bytes that are none, what can be made of them."""
    try:
        message = message_from_bytes(content)
        parts = list(_shown_parts(message))
    except RecursionError:
        head, _, _ = content.replace(b"\r\n", b"\n").partition(b"\n\n")
        return Letter(headers=_headers(message_from_bytes(head)), text=TOO_TANGLED, html="")
    return Letter(
        headers=_headers(message), text=_first(parts, content_type="text/plain"), html=_first(parts, "text/html")
    )


def _headers(message: Message) -> tuple[tuple[str, str], ...]:
    return tuple((name, _decoded(value)) for name, value in message.raw_items())


def _decoded(value: str) -> str:
    """The header's words on one line: RFC 2047 decoded, raw bytes taken for UTF-8 (RFC 6532)."""
    words = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with suppress(HeaderParseError, LookupError, ValueError):
        words = str(make_header(decode_header(words)))
    return " ".join(words.split())


def _shown_parts(message: Message) -> Iterator[Message]:
    """The parts a mail program would show: no attachments, and not the inside of a forwarded letter."""
    if message.get_content_disposition() == "attachment" or message.get_content_type().startswith(WHOLE_MESSAGE):
        return
    if not message.is_multipart():
        yield message
    for part in message.get_payload() if message.is_multipart() else ():
        if isinstance(part, Message):
            yield from _shown_parts(part)


def _first(parts: list[Message], content_type: str) -> str:
    return next((_body(part) for part in parts if part.get_content_type() == content_type), "")


def _body(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")
