"""
The header block of an email, as bytes.

*Decided*: ASCII values travel as they are, folded at spaces; everything else as RFC 2047 encoded
words. Whatever could end a line early is refused, never repaired: a repaired value hides who sent it.
*Rejected*: ``email.message.EmailMessage``, at forty times the cost. It is the oracle of the tests.
"""

from binascii import b2a_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from re import compile as pattern

from notify.dns_names import NotADomain, ascii_domain
from notify.domain.errors import InvalidSettings, NotifyError, UnsafeHeader
from notify.domain.grammar import split_address

FOLD = 78
MAX_LINE = 998
LONGEST_WORD = 75
LONGEST_ADDRESS = 254
LONGEST_URL = 900

CONTROL = pattern(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
PRINTABLE = pattern(r"[ -~]*")
ONE_WORD = pattern(r"[!-~]{1,900}")
BARE_NAME = pattern(r"[A-Za-z0-9_-]+( [A-Za-z0-9_-]+)*")
SAFE_IN_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
WORD_FRAME = len("=?utf-8?q??=")

Cost = Callable[[str], int]


class UnusableAddress(NotifyError):
    """No email can be sent to this address: it is not of the form local@domain."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address as it goes on the wire; ``international`` means that it needs SMTPUTF8."""

    text: str
    international: bool


def address(text: str) -> Address:
    """
    The address as it goes on the wire, its domain in ASCII.

    Raises:
        UnsafeHeader: It holds a control character.
        UnusableAddress: It is not an address.
    """
    refuse_unsafe("address", text)
    sides = split_address(text)
    if sides is None:
        raise UnusableAddress
    local, domain = sides
    try:
        wire = f"{local}@{ascii_domain(domain)}"
    except NotADomain:
        raise UnusableAddress from None
    if len(wire.encode()) > LONGEST_ADDRESS:
        raise UnusableAddress
    return Address(wire, international=not wire.isascii())


def stated_address(setting: str, text: str) -> Address:
    """
    The address that a setting states.

    Raises:
        InvalidSettings: It is none.
    """
    try:
        return address(text)
    except (UnusableAddress, UnsafeHeader):
        raise InvalidSettings(f"{setting} is {text!r}: expected a bare address") from None


def refuse_unsafe(name: str, value: str) -> None:
    """
    Raises:
        UnsafeHeader: *value* holds CR, LF, NUL, another control character or half a surrogate pair.
    """
    if CONTROL.search(value):
        raise UnsafeHeader(header=name)


def text_field(name: str, value: str) -> bytes:
    """
    A header whose value is prose, such as ``Subject``; any text reads back as it was.

    Raises:
        UnsafeHeader: *value* holds a control character.
    """
    refuse_unsafe(name, value)
    if _is_plain(value):
        folded = _folded(name, value)
        if all(len(line) <= FOLD for line in folded.split("\r\n")):
            return f"{folded}\r\n".encode("ascii")
    return f"{name}: {_encoded_words(value, taken=len(name) + 2)}\r\n".encode("ascii")


def token_field(name: str, value: str) -> bytes:
    """
    A header whose value is syntax, such as ``Message-ID``; it is folded at spaces and never encoded.

    Raises:
        UnsafeHeader: *value* holds anything but printable ASCII, or a part too long for a line.
    """
    if ONE_WORD.fullmatch(value):
        return f"{name}: {value}\r\n".encode("ascii")
    refuse_unsafe(name, value)
    folded = _folded(name, value)
    if not value.isascii() or any(len(line) > MAX_LINE for line in folded.split("\r\n")):
        raise UnsafeHeader(header=name)
    return f"{folded}\r\n".encode("ascii")


def url_field(name: str, url: str) -> bytes:
    """
    A header whose value is one web address, such as ``List-Unsubscribe``; too long for a line, it goes on in the next.

    Raises:
        UnsafeHeader: *url* holds anything but printable ASCII.

    Source: RFC 2369 §2 and RFC 3986 appendix C: white space between the brackets is no part of the address.
    """
    if len(url) <= LONGEST_URL:
        return token_field(name, f"<{url}>")
    lines = (url[start : start + LONGEST_URL] for start in range(0, len(url), LONGEST_URL))
    return token_field(name, f"<{' '.join(lines)}>")


def mailbox_field(name: str, display_name: str, at: Address) -> bytes:
    """
    A header that names one person, such as ``To``.

    Raises:
        UnsafeHeader: *display_name* holds a control character.

    Source: RFC 5322 §3.4 (quoted string), RFC 2047 §5 (3) (encoded words in a phrase).
    """
    refuse_unsafe(name, display_name)
    who = _phrase(display_name, taken=len(name) + 2)
    last_line = len(who) - who.rfind("\r\n") + len(at.text)
    space = "\r\n " if last_line + len(name) + 5 > FOLD else " "
    value = f"{who}{space}<{at.text}>" if who else f"<{at.text}>"
    return f"{name}: {value}\r\n".encode()


def _is_plain(value: str) -> bool:
    """Whether the value survives folding and decoding as it is."""
    return bool(PRINTABLE.fullmatch(value)) and "=?" not in value and "  " not in value and value == value.strip()


def _folded(name: str, value: str) -> str:
    """The header on lines of 78 characters, broken at single spaces where there are any."""
    lines = [f"{name}:"]
    for word in value.split(" "):
        if len(lines[-1]) + 1 + len(word) > FOLD and lines[-1] != f"{name}:":
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    return "\r\n".join(lines)


def _phrase(text: str, *, taken: int) -> str:
    """
    A display name while it is short ASCII, quoted where that is needed; else encoded words.

    Decided: in the form that those who rewrite names leave as it is, since a signature does not survive another one.
    Gmail takes needless quotes away, sendmail puts them around a name with an apostrophe or a full stop.
    """
    if not text:
        return ""
    shown = text if BARE_NAME.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if _is_plain(text) and taken + len(shown) <= FOLD:
        return shown
    return _encoded_words(text, taken=taken)


def _encoded_words(text: str, *, taken: int) -> str:
    """
    The text as RFC 2047 words, one a line, none splitting a character.

    Args:
        taken: Characters that the first line already has.
    """
    encode, cost = (_q_word, _q_cost) if _q_cost(text) <= _b_cost(text) else (_b_word, _b_cost)
    return "\r\n ".join(encode(chunk) for chunk in _chunks(text, cost, taken=taken))


def _chunks(text: str, cost: Cost, *, taken: int) -> Iterator[str]:
    """The text in pieces that each fit one encoded word."""
    left = min(LONGEST_WORD, LONGEST_WORD + 1 - taken) - WORD_FRAME
    piece = ""
    for character in text:
        if piece and cost(piece + character) > left:
            yield piece
            piece, left = "", LONGEST_WORD - WORD_FRAME
        piece += character
    yield piece


def _q_cost(text: str) -> int:
    return sum(1 if byte in SAFE_IN_WORD or byte == ord(" ") else 3 for byte in text.encode())


def _b_cost(text: str) -> int:
    return (len(text.encode()) + 2) // 3 * 4


def _q_word(text: str) -> str:
    encoded = "".join(chr(byte) if byte in SAFE_IN_WORD else f"={byte:02X}" for byte in text.encode())
    return f"=?utf-8?q?{encoded.replace('=20', '_')}?="


def _b_word(text: str) -> str:
    return f"=?utf-8?b?{b2a_base64(text.encode(), newline=False).decode('ascii')}?="
