"""
What the sender's domain says of itself: who may send for it (SPF), keys (DKIM), what becomes of the rest (DMARC).

Nothing is found where no name server answers: a laptop on a train has no fault in its DNS.
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

PATIENCE_SECONDS = 3.0
LEAST_LABELS = 3  # of a domain that somebody owns, with the root's empty one
ANYBODY = {"all", "+all"}


def sender(deployment: Deployment) -> Sequence[Finding]:
    """What mailboxes look up when an email comes in; nothing where emails do not leave this machine."""
    mail_from = deployment.settings.mail_from
    if mail_from is None or all(is_loopback(relay.host) for relay in wiring.relays(deployment.settings)):
        return []
    bounces = _domain(deployment.settings.bounce_address or mail_from)
    try:
        signs = wiring.signer(deployment.settings)
    except InvalidSettings as error:
        return [Finding("DKIM", False, str(error), "Workers do not start.", "correct NOTIFY_DKIM_KEY_FILE")]
    try:
        resolver = Resolver()
        resolver.lifetime = PATIENCE_SECONDS
        return list(looked_up(resolver, _domain(mail_from), bounces=bounces, signs=signs))
    except DNSException:
        return []


def looked_up(resolver: Resolver, domain: str, *, bounces: str, signs: Signer | None = None) -> Iterator[Finding]:
    """
    Args:
        bounces: The domain of the envelope sender, which is the one that SPF is about.
        signs: What signs emails here; None: the relay does, or nobody.
    """
    yield _dmarc(resolver, domain)
    yield _spf(resolver, bounces)
    if signs is None:
        yield _dkim(resolver, domain)
        return
    for key in signs.keys:
        yield _published(resolver, signs.domain, key)
        yield from _strength(key)


def _spf(resolver: Resolver, domain: str) -> Finding:
    """Source: RFC 7208 §4.5: more than one record is an error, as is none for who wants to be believed."""
    about, why = f"SPF of {domain}", "Mailboxes refuse or file away emails that anybody could have sent."
    fix = f'TXT record for {domain}: "v=spf1 include:YOUR-RELAY -all"'
    found = [one for one in _texts(resolver, from_text(domain)) if one.lower().split()[:1] == ["v=spf1"]]
    if len(found) != 1:
        return Finding(about, False, f"{len(found)} records, expected one", why, fix)
    open_to_all = bool(ANYBODY & set(found[0].lower().split()))
    return Finding(about, not open_to_all, found[0], why, fix)


def _dmarc(resolver: Resolver, domain: str) -> Finding:
    """The record of the domain or of the nearest one above it."""
    about, why = f"DMARC of {domain}", "Large mailboxes ask for it of everybody who sends many emails."
    name = from_text(domain)
    while len(name) >= LEAST_LABELS:
        for one in _texts(resolver, from_text("_dmarc", name)):
            if one.replace(" ", "").lower().startswith("v=dmarc1"):
                return Finding(about, True, one, why, "")
        name = name.parent()
    return Finding(about, False, "no record", why, f'TXT record for _dmarc.{domain}: "v=DMARC1; p=none"')


def _dkim(resolver: Resolver, domain: str) -> Finding:
    """
    Whether there can be a key. Which one it is stands in an email's own DKIM-Signature.

    Source: RFC 8020: a name below which something exists is never denied.
    """
    try:
        resolver.resolve(from_text("_domainkey", from_text(domain)), "TXT")
    except NoAnswer:
        there = True
    except NXDOMAIN:
        there = False
    else:
        there = True
    why = "An email that is forwarded keeps nothing else that says who sent it."
    fix = "have the relay sign emails, and publish its key at SELECTOR._domainkey"
    return Finding(f"DKIM of {domain}", there, "there are keys" if there else "no key is published", why, fix)


def _published(resolver: Resolver, domain: str, key: Key) -> Finding:
    """Whether receivers find the other half of a configured key."""
    name = f"{key.selector}._domainkey.{domain}"
    problem = unlike(_texts(resolver, from_text(name)), key)
    why = "Mailboxes take emails for unsigned, or forged, that this key has signed."
    fix = f'TXT record for {name}: "{key.record}"'
    return Finding(f"DKIM {name}", problem is None, problem or "the configured key is published", why, fix)


def unlike(records: Sequence[str], key: Key) -> str | None:  # noqa: PLR0911 - one line a problem
    """
    What keeps receivers from finding the other half of the key in these records; None: nothing.

    Source: RFC 6376 §3.6.1, RFC 8463 §4.
    """
    if len(records) != 1:
        return f"{len(records)} records, expected one" if records else "no key is published"
    pairs = (part.partition("=") for part in records[0].split(";"))
    tags = {name.strip(): "".join(value.split()) for name, _, value in pairs}
    if tags.get("v", "DKIM1") != "DKIM1":
        return f"the record is no key of DKIM (v={tags['v']})"
    if not tags.get("p"):
        return "the key is revoked (p= is empty)" if "p" in tags else "the record holds no key (no p=)"
    if tags.get("k", "rsa") != key.kind:
        published = f"as k={tags['k']}" if "k" in tags else "without k=, which means rsa"
        return f"it is published {published}, and the configured key is {key.kind}"
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return f"the record does not allow sha256 (h={tags['h']})"
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return f"the record is not for email (s={tags['s']})"
    return None if key.is_half_of(tags["p"]) else "another key is published than the configured one"


def _strength(key: Key) -> Iterator[Finding]:
    """Source: RFC 8301 §3.2."""
    if key.bits is not None:
        why = f"Mailboxes may ignore signatures by RSA keys of fewer than {ENOUGH_BITS:,} bits."
        fix = f"openssl genrsa -out dkim.pem {ENOUGH_BITS}; publish it under another selector, then set both"
        yield Finding(f"DKIM key {key.selector}", key.bits >= ENOUGH_BITS, f"RSA, {key.bits:,} bits", why, fix)


def _texts(resolver: Resolver, name: Name) -> list[str]:
    try:
        answer = resolver.resolve(name, "TXT")
    except (NXDOMAIN, NoAnswer):
        return []
    return [b"".join(one.strings).decode("utf-8", errors="replace") for one in answer]


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
