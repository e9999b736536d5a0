"""
Domains as DNS and mail spell them: in ASCII, by IDNA 2008.

*Decided*: what an operator or an event states is converted where it comes in or goes out, by this one function.
Python's own codec is IDNA 2003, which takes ``straße.example`` for ``strasse.example``: another owner's domain.
"""

from functools import lru_cache
from ipaddress import ip_address
from re import compile as pattern

from notify.domain.errors import NotifyError

LONGEST_DOMAIN = 253
DOMAINS_KEPT = 1024

LABEL = r"[A-Za-z0-9-]{1,63}"
DOMAIN = pattern(rf"{LABEL}(\.{LABEL})*")
FULL_NAME = pattern(rf"({LABEL}\.)+(?!\d+$){LABEL}")
LITERAL = pattern(r"\[[A-Za-z0-9.:]+\]")


class NotADomain(NotifyError):
    """No DNS can know a domain of this name."""


def ascii_domain(domain: str) -> str:
    """
    The domain with A-labels for what is not ASCII; a literal such as ``[192.0.2.1]`` as it is.

    Raises:
        NotADomain: IDNA 2008 refuses it, or it holds what no host's name may hold.

    Source: RFC 5891 (IDNA 2008) with the mapping of UTS 46, non-transitional.
    """
    encoded = domain if domain.isascii() else _encoded(domain)
    if LITERAL.fullmatch(encoded):
        return encoded
    if len(encoded) > LONGEST_DOMAIN or not DOMAIN.fullmatch(encoded):
        raise NotADomain(domain=domain)
    return encoded


def of_address(address: str) -> str:
    """What an address has behind its ``@``, as DNS spells it; as it is where that is no domain."""
    domain = address.rpartition("@")[2].lower()
    if domain.isascii():
        return domain
    try:
        return ascii_domain(domain)
    except NotADomain:
        return domain


def is_full_name(host: str) -> bool:
    """Whether this is a name that means the same host to everybody: no single label, no address, not this machine."""
    return bool(FULL_NAME.fullmatch(host)) and not host.lower().endswith(".localhost")


def is_local(host: str) -> bool:
    """
    Whether a browser sends this host only for pages of this machine or network.

    A site can point its own name at this machine and read what is served to that name (DNS rebinding); it cannot do so
    with an address, or with a name without a dot.
    """
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host != "" and ("." not in host or host.endswith(".localhost"))
    return True


@lru_cache(DOMAINS_KEPT)
def _encoded(domain: str) -> str:
    if len(domain) > LONGEST_DOMAIN:
        raise NotADomain(domain=domain)
    # Here and not above: its tables are 3 MB of every process, and most have ASCII domains only.
    from idna import IDNAError, encode  # noqa: PLC0415

    try:
        return encode(domain, uts46=True).decode("ascii")
    except IDNAError:
        raise NotADomain(domain=domain) from None
