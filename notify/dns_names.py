"""
Domains in ASCII, as in DNS, converted by IDNA 2008.

*Decided*: settings and events are converted on input or output, by this one function. Python's own codec is IDNA 2003,
which turns ``straße.example`` into ``strasse.example``, a different domain.
"""

from functools import lru_cache
from ipaddress import ip_address
from re import compile as pattern

from notify.domain.errors import NotifyError

MAX_DOMAIN_LENGTH = 253
DOMAINS_KEPT = 1024

LABEL = r"[A-Za-z0-9-]{1,63}"
DOMAIN = pattern(rf"{LABEL}(\.{LABEL})*")
FULL_NAME = pattern(rf"({LABEL}\.)+(?!\d+$){LABEL}")
LITERAL = pattern(r"\[[A-Za-z0-9.:]+\]")


class NotADomain(NotifyError):
    """Not a valid domain name."""


def ascii_domain(domain: str) -> str:
    """
    The domain with A-labels instead of non-ASCII labels; an address literal such as ``[192.0.2.1]`` is unchanged.

    Raises:
        NotADomain: It is not valid by IDNA 2008, or not a host name.

    Source: RFC 5891 (IDNA 2008) with the mapping of UTS 46, non-transitional.
    """
    encoded = domain if domain.isascii() else _encoded(domain)
    if LITERAL.fullmatch(encoded):
        return encoded
    if len(encoded) > MAX_DOMAIN_LENGTH or not DOMAIN.fullmatch(encoded):
        raise NotADomain(domain=domain)
    return encoded


def of_address(address: str) -> str:
    """The domain of a mail address, in ASCII if it is valid."""
    domain = address.rpartition("@")[2].lower()
    if domain.isascii():
        return domain
    try:
        return ascii_domain(domain)
    except NotADomain:
        return domain


def is_full_name(host: str) -> bool:
    """Whether this name means the same host everywhere: not a single label, an address or this machine."""
    return bool(FULL_NAME.fullmatch(host)) and not host.lower().endswith(".localhost")


def is_local(host: str) -> bool:
    """
    Whether a browser sends this host name only for pages of this machine or network.

    A site can point its own name at this machine and read the answers (DNS rebinding), but it cannot do so with an
    address or with a name without a dot.
    """
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host != "" and ("." not in host or host.endswith(".localhost"))
    return True


@lru_cache(DOMAINS_KEPT)
def _encoded(domain: str) -> str:
    if len(domain) > MAX_DOMAIN_LENGTH:
        raise NotADomain(domain=domain)
    # Imported here because its tables take 3 MB, and most processes see only ASCII domains.
    from idna import IDNAError, encode  # noqa: PLC0415

    try:
        return encode(domain, uts46=True).decode("ascii")
    except IDNAError:
        raise NotADomain(domain=domain) from None
