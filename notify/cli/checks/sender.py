"""
What the sender's domain publishes: who may send for it (SPF), keys (DKIM), and what receivers do with the rest (DMARC).

Where no name server answers there are no findings: an offline laptop has no fault in its DNS.
"""

from collections.abc import Iterator, Sequence

from dns.exception import DNSException
from dns.name import Name, from_text
from dns.resolver import NXDOMAIN, NoAnswer, Resolver

from notify import wiring
from notify.channels.email.smtp.relay import is_loopback
from notify.channels.email.writing.dkim import ENOUGH_BITS, Key, Signer
from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.domain.errors import InvalidSettings

TIMEOUT_SECONDS = 3.0
MIN_LABELS = 3  # of a domain that somebody owns, with the root's empty one
ANYBODY = {"all", "+all"}


def sender(deployment: Deployment) -> Sequence[Finding]:
    """What receivers look up when an email comes in; nothing where emails do not leave this machine."""
    settings = deployment.settings
    if settings.mail_from is None or all(is_loopback(relay.host) for relay in wiring.relays(settings)):
        return []
    try:
        signer = wiring.signer(settings)
    except InvalidSettings as error:
        return [Finding("DKIM", False, str(error), "Workers do not start.", "correct NOTIFY_DKIM_KEY_FILE")]
    domain = settings.mail_from.rpartition("@")[2]
    bounces = (settings.bounce_address or settings.mail_from).rpartition("@")[2]
    try:
        resolver = Resolver()
        resolver.lifetime = TIMEOUT_SECONDS
        return list(dns_findings(resolver, domain, bounces=bounces, signer=signer))
    except DNSException:
        return []


def dns_findings(resolver: Resolver, domain: str, *, bounces: str, signer: Signer | None = None) -> Iterator[Finding]:
    """
    Args:
        bounces: The domain of the envelope sender, which SPF is about.
        signer: Signs emails here; None: the relay does, or nobody.
    """
    yield _dmarc(resolver, domain)
    yield _spf(resolver, bounces)
    if signer is None:
        yield _dkim(resolver, domain)
        return
    for key in signer.keys:
        yield _key(resolver, signer.domain, key)
        if key.bits is not None:
            # Source: RFC 8301 §3.2.
            why = f"Receivers may ignore signatures by RSA keys of fewer than {ENOUGH_BITS:,} bits."
            fix = f"openssl genrsa -out dkim.pem {ENOUGH_BITS}; publish it under another selector, then set both"
            yield Finding(f"DKIM key {key.selector}", key.bits >= ENOUGH_BITS, f"RSA, {key.bits:,} bits", why, fix)


def _spf(resolver: Resolver, domain: str) -> Finding:
    """Source: RFC 7208 §4.5: more than one record is an error."""
    about, why = f"SPF of {domain}", "Mail providers refuse or junk emails that anybody could have sent."
    fix = f'TXT record for {domain}: "v=spf1 include:YOUR-RELAY -all"'
    found = [one for one in _texts(resolver, from_text(domain)) if one.lower().split()[:1] == ["v=spf1"]]
    if len(found) != 1:
        return Finding(about, False, f"{len(found)} records, expected one", why, fix)
    return Finding(about, not ANYBODY & set(found[0].lower().split()), found[0], why, fix)


def _dmarc(resolver: Resolver, domain: str) -> Finding:
    """The record of the domain or of the nearest one above it."""
    about, why = f"DMARC of {domain}", "Large mail providers require it of senders of many emails."
    name = from_text(domain)
    while len(name) >= MIN_LABELS:
        for one in _texts(resolver, from_text("_dmarc", name)):
            if one.replace(" ", "").lower().startswith("v=dmarc1"):
                return Finding(about, True, one, why, "")
        name = name.parent()
    return Finding(about, False, "no record", why, f'TXT record for _dmarc.{domain}: "v=DMARC1; p=none"')


def _dkim(resolver: Resolver, domain: str) -> Finding:
    """
    Whether there can be a key; only an email's DKIM-Signature says which one.

    Source: RFC 8020: a name below which something exists is never denied.
    """
    why = "Nothing else proves who sent an email once it is forwarded."
    fix = "have the relay sign emails, and publish its key at SELECTOR._domainkey"
    try:
        resolver.resolve(from_text("_domainkey", from_text(domain)), "TXT", raise_on_no_answer=False)
    except NXDOMAIN:
        return Finding(f"DKIM of {domain}", False, "no key is published", why, fix)
    return Finding(f"DKIM of {domain}", True, "there are keys", why, fix)


def _key(resolver: Resolver, domain: str, key: Key) -> Finding:
    """Whether receivers find the public half of a configured key."""
    name = f"{key.selector}._domainkey.{domain}"
    problem = _mismatch(_texts(resolver, from_text(name)), key)
    why = "Receivers treat emails signed with this key as unsigned or forged."
    fix = f'TXT record for {name}: "{key.record}"'
    return Finding(f"DKIM {name}", problem is None, problem or "the configured key is published", why, fix)


def _mismatch(records: Sequence[str], key: Key) -> str | None:  # noqa: PLR0911 - one line a problem
    """
    Why receivers cannot find the public half of the key in these records; None: they can.

    Source: RFC 6376 §3.6.1, RFC 8463 §4.
    """
    if len(records) != 1:
        return f"{len(records)} records, expected one" if records else "no key is published"
    pairs = (part.partition("=") for part in records[0].split(";"))
    tags = {name.strip(): "".join(value.split()) for name, _, value in pairs}
    if tags.get("v", "DKIM1") != "DKIM1":
        return f"the record is not a DKIM key (v={tags['v']})"
    if not tags.get("p"):
        return "the key is revoked (p= is empty)" if "p" in tags else "the record has no key (no p=)"
    if tags.get("k", "rsa") != key.kind:
        kind = f"as k={tags['k']}" if "k" in tags else "without k=, which means rsa"
        return f"it is published {kind}, and the configured key is {key.kind}"
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return f"the record does not allow sha256 (h={tags['h']})"
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return f"the record is not for email (s={tags['s']})"
    return None if key.is_half_of(tags["p"]) else "a different key is published"


def _texts(resolver: Resolver, name: Name) -> list[str]:
    try:
        answer = resolver.resolve(name, "TXT")
    except (NXDOMAIN, NoAnswer):
        return []
    return [b"".join(one.strings).decode("utf-8", errors="replace") for one in answer]
