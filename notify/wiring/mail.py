"""What writes, signs and sends emails, from the settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from notify.dns_names import is_full_name
from notify.domain.errors import InvalidSettings
from notify.domain.measures import Count, no_count
from notify.settings import Settings
from notify.wiring.event_types import added_templates

if TYPE_CHECKING:
    from notify.channels.email.channel import EmailChannel
    from notify.channels.email.smtp.relay import Relay
    from notify.channels.email.writing.compose import Composer
    from notify.channels.email.writing.dkim import Signer
    from notify.channels.links import SignedLinks


PREVIEW_KEY = "for links that do nothing"
NO_MAIL = "NOTIFY_SMTP_URL is not set: nothing is claimed"


def links(settings: Settings) -> SignedLinks | None:
    """Signs and reads the links in emails; None if no key or no public URL is configured."""
    if settings.secret_keys is None or settings.public_url is None:
        return None
    from notify.channels.links import SignedLinks

    return SignedLinks(secrets=settings.signing_keys, public_url=settings.public_url)


def message_host(settings: Settings) -> str:
    """Right-hand side of Message-IDs: the sender's domain, else the public host."""
    return _mail_domain(settings) or _public_host(settings) or "notify.invalid"


def ehlo_name(settings: Settings) -> str | None:
    """
    Our name in EHLO; None: no setting has a full host name.

    The machine's own name is not used: in a container it is an id, and relays refuse names that are not in DNS.
    """
    if settings.ehlo_name is not None:
        return settings.ehlo_name
    return next((name for name in (_public_host(settings), _mail_domain(settings)) if is_full_name(name)), None)


def _mail_domain(settings: Settings) -> str:
    return (settings.mail_from or "").rpartition("@")[2]


def _public_host(settings: Settings) -> str:
    return (urlsplit(settings.public_url or "").hostname or "").removesuffix(".")


def composer(settings: Settings) -> Composer:
    """
    Raises:
        InvalidSettings: Settings that emails need are missing.
    """
    from notify.channels.email.writing.compose import Composer

    signed = links(settings)
    if signed is None or settings.mail_from is None:
        raise InvalidSettings("NOTIFY_MAIL_FROM, NOTIFY_PUBLIC_URL and NOTIFY_SECRET_KEYS are needed to write emails")
    return Composer(
        mail_from=settings.mail_from,
        mail_from_name=settings.mail_from_name,
        links=signed,
        templates_dir=settings.templates_dir,
        added_templates=added_templates(),
    )


def preview_composer(settings: Settings) -> Composer:
    """A composer for previews; its links do nothing, since no server knows their key."""
    from notify.channels.email.writing.compose import Composer
    from notify.channels.links import SignedLinks

    public_url = settings.public_url or f"http://127.0.0.1:{settings.api_port}"
    return Composer(
        mail_from=settings.mail_from or "notify@example.com",
        mail_from_name=settings.mail_from_name,
        links=SignedLinks(secrets=[PREVIEW_KEY], public_url=public_url),
        templates_dir=settings.templates_dir,
        added_templates=added_templates(),
    )


def relays(settings: Settings) -> tuple[Relay, ...]:
    """
    The relays, by priority; empty if no mail is configured.

    Raises:
        InvalidSettings: A URL is invalid.
    """
    from notify.channels.email.smtp.relay import parse_relays

    if settings.smtp_url is None:
        return ()
    fallbacks = settings.smtp_fallback_urls
    found = parse_relays(settings.smtp_url.get_secret_value(), fallbacks.get_secret_value() if fallbacks else "")
    return tuple(replace(relay, ehlo_name=ehlo_name(settings)) for relay in found)


def channels(settings: Settings, *, count: Count = no_count) -> tuple[EmailChannel, ...]:
    """
    A channel for each relay, by priority; empty if no mail is configured, and then nothing may be claimed.

    Raises:
        InvalidSettings: Settings that emails need are missing or invalid.
    """
    from notify.channels.email.channel import EmailChannel

    configured = relays(settings)
    if not configured:
        return ()
    writing, signing, timeout = composer(settings), signer(settings), settings.smtp_timeout_seconds
    return tuple(
        EmailChannel(
            relay,
            writing,
            bounce_address=settings.bounce_address or settings.mail_from or "",
            sessions=relay.sessions or settings.smtp_sessions,
            timeout=None if timeout is None else timedelta(seconds=timeout),
            sign=signing,
            count=count,
        )
        for relay in configured
    )


def signer(settings: Settings) -> Signer | None:
    """
    Signs emails with DKIM; None if no key is configured.

    Raises:
        InvalidSettings: A key cannot be read or used.
    """
    if settings.dkim_selector is None or settings.dkim_key_file is None:
        return None
    # Imported here because cryptography takes 7 MB, and most deployments let the relay sign.
    from notify.channels.email.writing import dkim

    return dkim.signer(
        domain=settings.dkim_domain or _mail_domain(settings),
        selectors=settings.dkim_selector,
        key_files=settings.dkim_key_file,
    )
