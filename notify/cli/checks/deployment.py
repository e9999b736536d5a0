"""The deployment: whether it runs, broker, connections, callers, time zones, and contradictory settings."""

from collections.abc import Iterator, Sequence
from os import environ
from urllib.parse import urlsplit

from notify import wiring
from notify.channels.email.smtp.relay import is_loopback
from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.domain.measures import CallOrigin
from notify.domain.schedule import clock
from notify.settings import PREFIX, SECRET, Settings
from notify.store.database import ANSWER_TIMEOUT_SECONDS, POOL_SIZE, is_pooled
from notify.store.directory import directory
from notify.store.operations import process_totals, server
from notify.store.outbox.items import MAX_LAPSES

BROKER_SECONDS = 3
MAX_ZONES = 3
MAX_ZONE_LENGTH = 40
# The defaults in docker-compose.yml, and RabbitMQ's own.
PUBLISHED_DEFAULTS = ("development-only", "//guest:guest@")


def stack(deployment: Deployment) -> Sequence[Finding]:
    """That the embedded stack does not run; nothing where it does, or where there is none."""
    if not deployment.stack_is_down:
        return []
    return [Finding("notify", False, "not running", "Events and emails wait until it runs.", "notify up")]


def broker(deployment: Deployment) -> Sequence[Finding]:
    why, fix = "Without doorbells emails wait for the next sweep.", "check NOTIFY_BROKER_URL"
    if deployment.settings.broker_url is None:
        return [Finding("broker", False, "not configured", "Celery workers cannot start.", "set NOTIFY_BROKER_URL")]
    app = wiring.celery_app(deployment.settings)
    try:
        with app.connection_for_write(connect_timeout=BROKER_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
            return [Finding("broker", True, f"{connection.transport.driver_type} answers", why, fix)]
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        return [Finding("broker", False, f"no answer: {type(error).__name__}", why, fix)]


def settings(deployment: Deployment) -> Iterator[Finding]:
    """Settings that contradict each other, though each is valid by itself."""
    given = deployment.settings
    yield from _secrets(given)

    # A lease is renewed when a third of it is over; a relay's timeouts may be longer.
    slowest = ANSWER_TIMEOUT_SECONDS
    words = f"NOTIFY_LEASE_SECONDS={given.lease_seconds:g}; the database may take {slowest:g} s to answer"
    why = f"If a lease ends before it is renewed, the email is sent twice; after {MAX_LAPSES} times it dies as poison."
    yield Finding("lease", given.lease_seconds > slowest, words, why, f"NOTIFY_LEASE_SECONDS={slowest * 1.5:g}")

    if given.smtp_fallback_urls is not None:
        # Source: RFC 5321 §4.5.3.2.
        seconds = given.smtp_timeout_seconds
        words = "minutes for each answer, as the RFC says" if seconds is None else f"{seconds:g} s for each answer"
        why = "Emails for a relay that has gone silent go over the next one only after that."
        yield Finding("relay timeout", seconds is not None, words, why, "NOTIFY_SMTP_TIMEOUT_SECONDS=60")

    yield from _public_url(given)

    words = f"sent emails are kept for {given.keep_sent_days} days, dead ones for {given.keep_dead_days}"
    why = "Dead emails are deleted before sent ones, so nobody can retry them."
    sensible = given.keep_dead_days >= given.keep_sent_days
    yield Finding("retention", sensible, words, why, f"NOTIFY_KEEP_DEAD_DAYS={given.keep_sent_days}")


def connections(deployment: Deployment) -> Sequence[Finding]:
    """Whether the database has enough connections for every process."""
    with deployment.database.begin() as connection:
        limit, pooled = server.connections(connection), is_pooled(connection)
        seen = process_totals.alive(connection)
    processes = max(sum(seen.values()), deployment.settings.worker_concurrency + 1)
    each = POOL_SIZE if pooled else POOL_SIZE + 1  # a worker writes what was sent over one of its own
    needed, left = processes * each, limit.allowed - limit.others
    if pooled:
        words = f"{processes} processes need up to {needed} connections to the pooler"
        return [Finding("connections", True, words, "The pooler's limit is max_client_conn.", "")]
    words = f"{processes} processes need up to {needed} connections; {left} of {limit.allowed} are free"
    why = "A process that gets no connection waits, and its leases may run out."
    return [Finding("connections", needed <= left, words, why, "raise max_connections, or run fewer processes")]


def callers(deployment: Deployment) -> Sequence[Finding]:
    """Whether the API can tell its callers apart; nothing where none has called."""
    with deployment.database.begin() as connection:
        calls = process_totals.calls(connection)
    if not calls:
        return []
    total, untrusted = sum(calls.values()), calls.get(CallOrigin.UNTRUSTED, 0)
    words = f"{untrusted} of {total} API calls came through a proxy that is not trusted"
    why = (
        "All callers behind it look like one address: they share NOTIFY_API_CALLS_PER_MINUTE until they show a token,"
        " and one caller's wrong tokens slow down the others."
    )
    fix = "set FORWARDED_ALLOW_IPS to the proxy's address in the environment of the API, and restart it"
    return [Finding("callers", untrusted * 2 <= total, words, why, fix)]


def time_zones(deployment: Deployment) -> Sequence[Finding]:
    """Whether this machine knows everybody's time zone."""
    with deployment.database.begin() as connection:
        unknown = [name for name in directory.time_zones(connection) if clock(name).warning]
        people = directory.people_in(connection, unknown)
    named = ", ".join(ascii(name[:MAX_ZONE_LENGTH]) for name in unknown[:MAX_ZONES])
    more = ", …" if len(unknown) > MAX_ZONES else ""
    words = f"{people:,} people are in zones unknown here: {named}{more}" if unknown else "all known on this machine"
    why = "Their digests, quiet hours and times are by UTC."
    fix = "PUT /api/v1/people/{username} with a zone of the IANA database; SELECT username FROM notify.people has them"
    return [Finding("time zones", not unknown, words, why, fix)]


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Passwords and secrets that are in docker-compose.yml, where everybody can read them."""
    if settings.public_url is None or is_loopback(urlsplit(settings.public_url).hostname or ""):
        return
    secrets = {name: getattr(settings, name) for name in sorted(SECRET)}
    values = {PREFIX + name.upper(): one.get_secret_value() for name, one in secrets.items() if one is not None}
    values |= {name: environ[name] for name in ("POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH") if name in environ}
    known = [name for name, value in values.items() if any(one in value for one in PUBLISHED_DEFAULTS)]
    words = f"published defaults: {', '.join(known)}" if known else "no published default"
    why = "Anybody can use them to sign links and tokens, read the database, or reach the broker."
    fix = f"set {', '.join(known)} to values of your own: openssl rand -hex 32"
    yield Finding("secrets", not known, words, why, fix)


def _public_url(settings: Settings) -> Iterator[Finding]:
    if settings.public_url is None or all(is_loopback(relay.host) for relay in wiring.relays(settings)):
        return
    address = urlsplit(settings.public_url)
    why = "Readers can neither follow the links in their emails nor unsubscribe."
    if is_loopback(address.hostname or ""):
        yield Finding(
            "public URL", False, f"{settings.public_url} leads to this machine only", why, "set NOTIFY_PUBLIC_URL"
        )
        return
    why = "Mail providers unsubscribe by https only (RFC 8058), and http links can be read in transit."
    fix = f"NOTIFY_PUBLIC_URL=https://{address.netloc}{address.path}"
    yield Finding("public URL", address.scheme == "https", settings.public_url, why, fix)
