"""
The bytes of a message: a header block over one text and one HTML part.

*Decided*: what the emails about one event have in common is encoded once, in pieces between the values that differ
(``spliced``). In quoted-printable a value is on lines of its own, which soft breaks join to those around it. Base64
has no such joint: a part that must travel so is encoded anew for each email.
"""

from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from re import compile as pattern

LONGEST_PLAIN_LINE = 998
LONGEST_VALUE = 600
BASE64_LINE = 76
PRINTABLE = b"\t\n" + bytes(range(0x20, 0x7F))
SOFT_BREAK = b"=\r\n"

# "=_" cannot occur in quoted-printable or base64, and a body that holds it is not sent as 7bit.
BOUNDARY = "=_notify"

LINE_END = pattern(r"\r\n|\r|\n")
# Source: RFC 2045 §6.7 (5): at most 76 characters.
LONG_LINE = pattern(rb"(?m)^(.{74,75})(=20|=09)$")
HALF_A_PAIR = pattern(r"[\ud800-\udfff]")


class Transfer(StrEnum):
    """How the bytes of a part travel (RFC 2045 §6)."""

    SEVEN_BIT = "7bit"
    QUOTED = "quoted-printable"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class Spliced:
    """
    A part in pieces, with a value between each two.

    Args:
        is_quoted: The values go in as ``quoted`` makes them, else as they are.
    """

    pieces: tuple[bytes, ...]
    is_quoted: bool


def part(text: str) -> bytes:
    """A whole part, with the last of its own headers."""
    plain = wire_text(text)
    transfer = cheapest(plain)
    return _transfer_field(transfer) + encode(plain, transfer)


def spliced(pieces: Sequence[str]) -> Spliced | None:
    """
    A part with a value between each two of its pieces; None where it would have to be base64.

    Values are ASCII, hold no "=_" and have at most ``LONGEST_VALUE`` characters.
    """
    plain = [wire_text(piece) for piece in pieces]
    transfer = cheapest((b"x" * LONGEST_VALUE).join(plain))
    if transfer is Transfer.BASE64:
        return None
    is_quoted = transfer is Transfer.QUOTED
    first, *others = _joints(plain) if is_quoted else (encode(piece, transfer) for piece in plain)
    return Spliced((_transfer_field(transfer) + first, *others), is_quoted)


def quoted(plain: bytes) -> bytes:
    """Quoted-printable with CRLF line ends; the last line leaves room for a soft break."""
    return _quoted_lines(plain + b"x")[:-1].removesuffix(b"=\n").replace(b"\n", b"\r\n")


def _quoted_lines(plain: bytes) -> bytes:
    """Quoted-printable with LF line ends. binascii makes lines of up to 78 characters that end in a blank."""
    lines = b2a_qp(plain, istext=True)
    return LONG_LINE.sub(rb"\1=\n\2", lines) if b"=20\n" in lines or b"=09\n" in lines else lines


def _joints(plain: Sequence[bytes]) -> Iterator[bytes]:
    """The pieces, each begun and ended so that a value fits on lines of its own before and after it."""
    for number, piece in enumerate(plain):
        is_last = number == len(plain) - 1
        joined = b"" if number == 0 or piece.startswith(b"\n") else SOFT_BREAK
        joined += encode(piece, Transfer.QUOTED) if is_last else quoted(piece)
        yield joined if is_last or joined.endswith(b"\n") or not joined else joined + SOFT_BREAK


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
    quoted_length = printable + 3 * (len(plain) - printable)
    return Transfer.QUOTED if quoted_length * 3 <= len(plain) * 4 else Transfer.BASE64


def _longest_line(plain: bytes) -> int:
    return max(map(len, plain.split(b"\n")))


def encode(plain: bytes, transfer: Transfer) -> bytes:
    """
    *plain* (LF line ends) as it travels, with CRLF line ends.

    Source: RFC 2045 §6.8: text is in CRLF before base64 sees it. Of quoted-printable, binascii
    guesses the soft breaks from the first line end, so there LF goes in and is replaced after.
    """
    if transfer is Transfer.BASE64:
        encoded = b2a_base64(plain.replace(b"\n", b"\r\n"), newline=False)
        starts = range(0, len(encoded), BASE64_LINE)
        return b"".join([encoded[at : at + BASE64_LINE] + b"\r\n" for at in starts])
    lines = _quoted_lines(plain) if transfer is Transfer.QUOTED else plain
    return lines.replace(b"\n", b"\r\n")


def assemble(header_block: bytes, *, text: bytes, html: bytes) -> bytes:
    """
    The message: headers, then both parts, the richer one last (RFC 2046 §5.1.4).

    Args:
        header_block: Complete lines, each ended by CRLF, without the blank line.
        text: The text as a ``part``.
        html: The HTML as a ``part``.
    """
    return b"".join((header_block, _OPENING, _TEXT_PART, text, _HTML_PART, html, _CLOSING))


def assemble_pieces(header_block: bytes, *, text: Spliced, html: Spliced) -> list[bytes]:
    """What ``assemble`` makes, in pieces between the values of the text, followed by those of the HTML."""
    pieces = list(text.pieces)
    pieces[0] = header_block + _OPENING + _TEXT_PART + pieces[0]
    pieces[-1] += _HTML_PART + html.pieces[0]
    pieces += html.pieces[1:]
    pieces[-1] += _CLOSING
    return pieces


def _transfer_field(transfer: Transfer) -> bytes:
    return f"Content-Transfer-Encoding: {transfer}\r\n\r\n".encode("ascii")


_DELIMITER = f"\r\n--{BOUNDARY}".encode("ascii")
_OPENING = f'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="{BOUNDARY}"\r\n'.encode("ascii")
_TEXT_PART = _DELIMITER + b"\r\nContent-Type: text/plain; charset=utf-8\r\n"
_HTML_PART = _DELIMITER + b"\r\nContent-Type: text/html; charset=utf-8\r\n"
_CLOSING = _DELIMITER + b"--\r\n"
