"""The grammar of mail addresses, URLs and trace ids. Whatever this module accepts can be sent to or linked to."""

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from re import compile as pattern
from unicodedata import category

MAX_LOCAL_PART = 64
ADDRESSES_KEPT = 4096

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]"
DOT_ATOM = pattern(rf"{ATOM}+(?:\.{ATOM}+)*")
ATOMS_AND_DOTS = pattern(rf"(?:{ATOM}|\.)+")
LABEL = r"(?!-)(?:[A-Za-z0-9\u00a1-\U0010ffff-]){1,63}(?<!-)"
DOMAIN = pattern(rf"{LABEL}(?:\.{LABEL})*")
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
IPV6 = "IPv6:"

# A URL must not contain characters that would end an attribute, a tag, a word or a line.
WEB_ADDRESS = r"[Hh][Tt][Tt][Pp][Ss]?://[^\s\x00-\x1f\x7f-\x9f<>\"/?#][^\s\x00-\x1f\x7f-\x9f<>\"]*"
# Source: W3C Trace Context §3.2, version 00; an id of zeros names nothing.
TRACEPARENT = r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"

_WEB_ADDRESS = pattern(WEB_ADDRESS)
_TRACEPARENT = pattern(TRACEPARENT)


def split_address(text: str) -> tuple[str, str] | None:
    """
    The local part, as SMTP needs it, and the domain; None if it is not an address.

    Local parts with misplaced dots (``taro..y.``, which Japanese carriers have assigned) are quoted. Local parts that
    are already quoted are refused: nobody has such an address.

    Source: RFC 5321 §4.1.2 for the grammar, §4.5.3.1.1 for the length; RFC 6531 §3.3 for what is not ASCII.
    """
    local, _, domain = text.rpartition("@")
    if not text.isascii() and any(category(character) in INVISIBLE for character in text):
        return None
    on_the_wire = local if DOT_ATOM.fullmatch(local) else f'"{local}"'
    if not ATOMS_AND_DOTS.fullmatch(local) or len(on_the_wire.encode()) > MAX_LOCAL_PART:
        return None
    return (on_the_wire, domain) if DOMAIN.fullmatch(domain) or _is_ip_literal(domain) else None


@lru_cache(ADDRESSES_KEPT)
def is_address(text: str) -> bool:
    """Whether emails can be sent to it; international domains are not fully checked."""
    return split_address(text) is not None


def is_web_address(text: str) -> bool:
    """Whether it is an absolute http or https URL that an email can link to."""
    return _WEB_ADDRESS.fullmatch(text) is not None


def valid_traceparent(text: str | None) -> str | None:
    """
    The value, or None if it is not valid.

    Source: W3C Trace Context §4.3: an invalid header is treated as absent.
    """
    return text if text and _TRACEPARENT.fullmatch(text) else None


def trace_id(traceparent: str) -> str:
    """The trace id, which is the same in every process."""
    return traceparent.split("-")[1]


def _is_ip_literal(domain: str) -> bool:
    if not (domain.startswith("[") and domain.endswith("]")):
        return False
    inside = domain[1:-1]
    try:
        if inside.startswith(IPV6):
            IPv6Address(inside.removeprefix(IPV6))
        else:
            IPv4Address(inside)
    except AddressValueError:
        return False
    return "%" not in inside
