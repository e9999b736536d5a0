"""What a mail address is. Every door takes what this module takes, and everything that it takes can be sent to."""

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from re import compile as pattern
from unicodedata import category

LONGEST_LOCAL_PART = 64
ADDRESSES_KEPT = 4096

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]"
DOT_ATOM = pattern(rf"{ATOM}+(?:\.{ATOM}+)*")
ATOMS_AND_DOTS = pattern(rf"(?:{ATOM}|\.)+")
LABEL = r"(?!-)(?:[A-Za-z0-9\u00a1-\U0010ffff-]){1,63}(?<!-)"
DOMAIN = pattern(rf"{LABEL}(?:\.{LABEL})*")
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
IPV6 = "IPv6:"


def parted(text: str) -> tuple[str, str] | None:
    """
    The two sides of an address, the left one as it goes on the wire; None if it is no address.

    Dots that no atom may have (``taro..y.``, which Japanese carriers have given to people) are
    put in quotes. Names that come in quotes are not taken: what they may hold besides, nobody has.

    Source: RFC 5321 §4.1.2 for the grammar, §4.5.3.1.1 for the length; RFC 6531 §3.3 for what is not ASCII.
    """
    local, _, domain = text.rpartition("@")
    if not text.isascii() and not all(map(_is_seen, text)):
        return None
    on_the_wire = local if DOT_ATOM.fullmatch(local) else f'"{local}"'
    if not ATOMS_AND_DOTS.fullmatch(local) or len(on_the_wire.encode()) > LONGEST_LOCAL_PART:
        return None
    return (on_the_wire, domain) if DOMAIN.fullmatch(domain) or _is_literal(domain) else None


@lru_cache(ADDRESSES_KEPT)
def is_address(text: str) -> bool:
    """Whether emails can be sent to it, as far as can be said without the tables of international domains."""
    return parted(text) is not None


def _is_seen(character: str) -> bool:
    return category(character) not in UNSEEN


def _is_literal(domain: str) -> bool:
    """Whether it is an IP address in brackets, as an address may have instead of a domain."""
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
