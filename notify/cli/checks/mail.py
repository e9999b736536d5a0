"""Mail: the relays, their certificates and breakers, and whether every email can be written."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from notify import wiring
from notify.channels.email.smtp.relay import FALLBACKS, SETTING, Relay
from notify.channels.email.smtp.relay_check import RelayCheck, check_relay
from notify.channels.email.writing.compose import Composer
from notify.cli import sample
from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.cli.relay_states import RelayState, close_breaker, in_words, relay_states
from notify.cli.relays import refusal
from notify.domain.errors import NotifyError
from notify.domain.events import COMMENT_MENTIONED
from notify.domain.outcomes import TOO_MANY_SESSIONS, Blame, Phase, Released
from notify.intake.triggers import OWN_TRIGGERS, emittable
from notify.store.operations.relays import OPEN, BreakerState

NO_RELAYS: Mapping[str, Relay] = MappingProxyType({})
SOON = timedelta(days=14)
# Text and HTML stay below 90 KB each, and are a third more as base64; the rest is headers and signatures.
LARGEST_EMAIL_BYTES = 262_144
NO_RELAY = "Emails go over the next relay; without one they wait, and none loses an attempt."
RAISE_LIMIT = "raise the limit at the relay (Postfix: message_size_limit)"
FEWER_SESSIONS = "state ?fleet_sessions= in the relay's URL, or lower ?sessions="
SEND_TEST = "notify send-test ADDRESS; if that is refused, correct what it names"
REFUSED_IN_A_SESSION = frozenset(
    {"auth_refused", "auth_not_offered", "token_refused", "url_makes_no_sense", "certificate", "size_limit"}
)
LOGS_IN = {
    "auth_not_offered": "log in as the relay asks: by a password, or ?token_url= or ?token_command= for access tokens",
    "auth_refused": "correct user and password; with access tokens, see who may send with the token of ?token_url=",
    "token_refused": "correct token_url, client_id, client_secret_file, scope or token_command",
    "token_unavailable": "see whether ?token_url= can be reached from here, or why ?token_command= takes so long",
}
FIXES: Mapping[str, str] = {
    Blame.RELAY: "repair the relay; the next probe closes the breaker (notify relays probe: now)",
    Blame.CONFIGURATION: "check NOTIFY_SMTP_URL, NOTIFY_BOUNCE_ADDRESS and NOTIFY_MAIL_FROM; then notify send-test",
    Blame.THROTTLE: "wait, or have the relay's quota raised",
    f"{Blame.CONFIGURATION}: size_limit": RAISE_LIMIT,
    f"{Blame.THROTTLE}: {TOO_MANY_SESSIONS}": FEWER_SESSIONS,
}
"""What fixes an open breaker, by its reason or by the part before the colon."""


def relay(deployment: Deployment) -> Iterator[Finding]:
    """
    Whether each relay takes a session, whether its certificate lasts, and whether its breaker is closed.

    The first is called *relay*, the others by their names.
    """
    configured = wiring.relays(deployment.settings)
    if not configured:
        yield Finding("relay", False, wiring.NO_MAIL, NO_RELAY, "set NOTIFY_SMTP_URL")
        return
    working = {}
    for one, seen in zip(configured, asyncio.run(_examined(configured)), strict=True):
        suffix = "" if one is configured[0] else f" {one.name}"
        yield _session_finding(one.name, seen.refused, suffix=suffix)
        yield from certificate(seen, suffix=suffix)
        yield from _size(seen, suffix=suffix)
        if seen.refused is None:
            working[one.name] = one
    yield from breaker(deployment, working=working)


async def _examined(configured: Sequence[Relay]) -> Sequence[RelayCheck]:
    return await asyncio.gather(*(check_relay(one) for one in configured))


def _session_finding(name: str, refused: Released | None, *, suffix: str) -> Finding:
    """Whether connecting, greeting, TLS and login worked."""
    if refused is None:
        return Finding(f"relay{suffix}", True, f"{name} takes sessions", NO_RELAY, "")
    fix = _fix_session(refused, FALLBACKS if suffix else SETTING)
    return Finding(f"relay{suffix}", False, f"{name} {refusal(refused)}", NO_RELAY, fix)


def _fix_session(refused: Released, setting: str) -> str:
    phase = refused.answer.phase if refused.answer else None
    if refused.reason == "size_limit":
        return RAISE_LIMIT
    if refused.reason == "url_makes_no_sense":
        return f"correct what it names in {setting}"
    if phase is Phase.AUTH:
        return f"{LOGS_IN.get(refused.reason, LOGS_IN['auth_refused'])} (in {setting}); then notify send-test"
    if refused.blame is not Blame.CONFIGURATION:
        return f"check that the relay runs and can be reached from here, and {setting}"
    if phase is Phase.TLS:
        return f"renew the relay's certificate, or name its authority by ?ca=FILE in {setting}"
    return FIXES[Blame.CONFIGURATION]


def certificate(examined: RelayCheck, *, suffix: str = "", now: datetime | None = None) -> Sequence[Finding]:
    """How long the relay's certificate is valid; nothing where it has none."""
    ends = examined.certificate_ends
    if ends is None:
        return []
    left = ends - (now or datetime.now(UTC))
    words, why = f"expires on {ends:%Y-%m-%d}, in {left.days} days", "After that no email goes to the relay."
    return [Finding(f"certificate{suffix}", left > SOON, words, why, "renew it at the relay")]


def _size(examined: RelayCheck, *, suffix: str) -> Sequence[Finding]:
    """Whether the relay accepts the largest emails; nothing where it states no limit."""
    if examined.largest is None:
        return []
    words = f"accepts {examined.largest:,} bytes; emails have at most {LARGEST_EMAIL_BYTES:,}"
    enough = examined.largest >= LARGEST_EMAIL_BYTES
    return [Finding(f"size limit{suffix}", enough, words, "A larger email ends as dead (oversize).", RAISE_LIMIT)]


def breaker(deployment: Deployment, *, working: Mapping[str, Relay] = NO_RELAYS) -> Iterator[Finding]:
    """
    Whether emails are claimed for each configured relay, and how many sessions workers have where there is a cap.

    Args:
        working: The relays that have just taken a session; their open breakers are closed unless they are muted.
    """
    for state in relay_states(deployment):
        if state.priority is None:
            continue
        about = "breaker" if state.priority == 1 else f"breaker {state.relay}"
        closable = state.relay in working and state.breaker.state == OPEN and not state.breaker.is_muted
        if closable and close_breaker(deployment, state.relay):
            yield _closed_finding(about, state.breaker, working[state.relay])
        else:
            yield _breaker_finding(about, state)
        if state.fleet_sessions is not None:
            words = f"workers use {state.sessions} of {state.fleet_sessions} sessions"
            why = "Emails wait for a session while other workers use all of them."
            yield Finding(f"sessions {state.relay}", True, words, why, "")


def _breaker_finding(about: str, state: RelayState) -> Finding:
    breaker, why = state.breaker, "Emails for this relay wait while its breaker is open."
    reason = breaker.reason or ""
    fix = FIXES.get(reason) or FIXES.get(reason.partition(":")[0], FIXES[Blame.RELAY])
    if breaker.is_muted:
        fix = f"notify relays unmute {state.relay}"
    return Finding(about, not breaker.is_open, in_words(breaker) + _last_error(breaker), why, fix)


def _closed_finding(about: str, breaker: BreakerState, relay: Relay) -> Finding:
    found = f"was {in_words(breaker)}{_last_error(breaker)}; closed now, because the relay takes sessions"
    why = "A session alone does not prove that the cause is fixed."
    return Finding(about, _is_disproved(breaker.reason or "", relay), found, why, SEND_TEST)


def _last_error(breaker: BreakerState) -> str:
    return f"; last error: {breaker.last_error}" if breaker.is_open and breaker.last_error else ""


def _is_disproved(reason: str, relay: Relay) -> bool:
    """Whether a session proves that the reason is gone; for a refused login, only if we log in."""
    blame, _, detail = reason.partition(": ")
    if detail == "auth_refused" and relay.username is None:
        return False
    return blame == Blame.RELAY or detail in REFUSED_IN_A_SESSION


def templates(deployment: Deployment) -> Sequence[Finding]:
    """Whether every event type renders in every language with this deployment's templates."""
    try:
        composer = wiring.composer(deployment.settings)
    except NotifyError as error:
        return [Finding("templates", False, str(error), "No email can be written.", "set what it names")]
    host = wiring.message_host(deployment.settings)
    return [
        _rendered(composer, event_type, host) for event_type in sorted({*emittable(), *OWN_TRIGGERS, COMMENT_MENTIONED})
    ]


def _rendered(composer: Composer, event_type: str, host: str) -> Finding:
    failed: dict[str, list[str]] = {}
    for locale in composer.languages:
        try:
            composer.compose(sample.email(event_type, host=host, locale=locale), date=datetime.now(UTC))
        except NotifyError as error:
            failed.setdefault(str(error), []).append(locale)
    about, why = f"template {event_type}", "Emails about events of this type end as dead."
    if not failed:
        return Finding(about, True, f"renders in {', '.join(composer.languages)}", why, "")
    found = "; ".join(f"{', '.join(locales)}: {words}" for words, locales in failed.items())
    fix = f"notify preview {event_type} --locale {next(iter(failed.values()))[0]}"
    return Finding(about, False, found, why, fix)
