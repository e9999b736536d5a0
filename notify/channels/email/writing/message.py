"""
The bytes of a letter: a header block over one text and one HTML part.

*Decided*: what the letters about one event share is encoded once (``Shared``); a letter adds its
own end, where its reader's links stand. *Rejected*: splicing into encoded text, which breaks
lines of quoted-printable and groups of base64.
"""

from binascii import b2a_base64, b2a_qp
from dataclasses import dataclass
from enum import StrEnum
from re import compile as pattern

LONGEST_PLAIN_LINE = 998
BASE64_LINE = 57
PRINTABLE = b"\t\n" + bytes(range(0x20, 0x7F))

# "=_" cannot occur in quoted-printable or base64, and a body that holds it is not sent as 7bit.
BOUNDARY = "=_notify"

LINE_END = pattern(r"\r\n|\r|\n")
HALF_A_PAIR = pattern(r"[\ud800-\udfff]")


class Transfer(StrEnum):
    """How the bytes of a part travel (RFC 2045 §6)."""

    SEVEN_BIT = "7bit"
    QUOTED = "quoted-printable"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class Shared:
    """
    The beginning of a part, encoded once for all letters about an event.

    Args:
        plain: The beginning, unencoded, in the line ends that ``transfer`` wants.
        transfer: How it travels.
        encoded: As much of it as can be encoded without knowing what follows.
        rest: The end of *plain* that *encoded* leaves over.
    """

    plain: bytes
    transfer: Transfer
    encoded: bytes
    rest: bytes


def share(text: str, *, before: str = "") -> Shared:
    """
    The beginning of a part, ready to be ended differently for each letter.

    Args:
        before: What all of the endings have in common. A beginning that could not travel with it
            as it is would be encoded again for each letter.
    """
    plain = wire_text(text)
    transfer = cheapest(wire_text(text + before))
    plain = canonical(plain, transfer)
    cut = len(plain) // BASE64_LINE * BASE64_LINE if transfer is Transfer.BASE64 else plain.rfind(b"\n") + 1
    return Shared(plain, transfer, encode(plain[:cut], transfer), plain[cut:])


def finish(shared: Shared, ending: str) -> bytes:
    """The whole part with the last of its own headers, ended by *ending*."""
    tail = wire_text(ending)
    if shared.transfer is Transfer.SEVEN_BIT and cheapest(shared.rest + tail) is not Transfer.SEVEN_BIT:
        return _transfer_field(Transfer.QUOTED) + encode(shared.plain + tail, Transfer.QUOTED)
    tail = shared.rest + canonical(tail, shared.transfer)
    return _transfer_field(shared.transfer) + shared.encoded + encode(tail, shared.transfer)


def wire_text(text: str) -> bytes:
    """UTF-8 with LF line ends; half a surrogate pair becomes U+FFFD, as it has no UTF-8."""
    if "\r" in text:
        text = LINE_END.sub("\n", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return HALF_A_PAIR.sub("\ufffd", text).encode()


def cheapest(plain: bytes) -> Transfer:
    """7bit where every relay must carry the lines as they are (RFC 5322 §2.1.1), else whichever is shorter."""
    if b"=_" not in plain and not plain.translate(None, PRINTABLE) and _longest_line(plain) <= LONGEST_PLAIN_LINE:
        return Transfer.SEVEN_BIT
    printable = len(plain.translate(None, bytes(range(0x80, 0x100))))
    quoted = printable + 3 * (len(plain) - printable)
    return Transfer.QUOTED if quoted * 3 <= len(plain) * 4 else Transfer.BASE64


def _longest_line(plain: bytes) -> int:
    return max(map(len, plain.split(b"\n")))


def canonical(plain: bytes, transfer: Transfer) -> bytes:
    """
    *plain* (LF line ends) in the line ends that ``encode`` wants.

    Source: RFC 2045 §6.8: text is in CRLF before base64 sees it. Of quoted-printable, binascii
    guesses the soft breaks from the first line end, so there LF goes in and is replaced after.
    """
    return plain.replace(b"\n", b"\r\n") if transfer is Transfer.BASE64 else plain


def encode(plain: bytes, transfer: Transfer) -> bytes:
    """What ``canonical`` returned, as it travels, with CRLF line ends."""
    if transfer is Transfer.BASE64:
        starts = range(0, len(plain), BASE64_LINE)
        return b"".join(b2a_base64(plain[at : at + BASE64_LINE], newline=False) + b"\r\n" for at in starts)
    lines = b2a_qp(plain, istext=True) if transfer is Transfer.QUOTED else plain
    return lines.replace(b"\n", b"\r\n")


def assemble(header_block: bytes, *, text: bytes, html: bytes) -> bytes:
    """
    The letter: headers, then both parts, the richer one last (RFC 2046 §5.1.4).

    Args:
        header_block: Complete lines, each ended by CRLF, without the blank line.
        text: What ``finish`` made of the text part.
        html: What ``finish`` made of the HTML part.
    """
    return b"".join((header_block, _OPENING, _TEXT_PART, text, _HTML_PART, html, _CLOSING))


def _transfer_field(transfer: Transfer) -> bytes:
    return f"Content-Transfer-Encoding: {transfer}\r\n\r\n".encode("ascii")


_DELIMITER = f"\r\n--{BOUNDARY}".encode("ascii")
_OPENING = f'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="{BOUNDARY}"\r\n'.encode("ascii")
_TEXT_PART = _DELIMITER + b"\r\nContent-Type: text/plain; charset=utf-8\r\n"
_HTML_PART = _DELIMITER + b"\r\nContent-Type: text/html; charset=utf-8\r\n"
_CLOSING = _DELIMITER + b"--\r\n"
