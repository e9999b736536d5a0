"""Mail: the relay, its certificate, its breaker, and whether every email can be written."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from notify import wiring
from notify.channels.email.smtp.examine import Examined, examine
from notify.channels.email.smtp.relay import FALLBACKS, SETTING, Relay
from notify.channels.email.writing.compose import Composer
from notify.cli import sample
from notify.cli.checks import Finding
from notify.cli.place import Place
from notify.cli.relays import cap, closes, in_words, known, refusal
from notify.domain.errors import NotifyError
from notify.domain.events import COMMENT_MENTIONED
from notify.domain.outcomes import TOO_MANY_SESSIONS, Blame, Phase, Released
from notify.intake.triggers import TRIGGERS
from notify.store.operations import relays
from notify.store.operations.relays import OPEN, BreakerState

NONE: Mapping[str, Relay] = MappingProxyType({})
SOON = timedelta(days=14)
# Text and HTML stay below 90 KB each, and are a third more as base64; the rest is headers and signatures.
LARGEST_EMAIL_BYTES = 262_144
NO_RELAY = "Emails go over the next relay; without one none leaves, none is claimed, and none loses an attempt."
RAISE_LIMIT = "raise the limit at the relay (Postfix: message_size_limit)"
FEWER_SESSIONS = "state ?fleet_sessions= in the relay's URL, or lower ?sessions="
SEND_TEST = "notify send-test ADDRESS; if that is refused, mend what it names"
TOLD_BY_A_SESSION = frozenset(
    {"auth_refused", "auth_not_offered", "token_refused", "url_makes_no_sense", "certificate", "size_limit"}
)
LOGS_IN = {
    "auth_not_offered": "log in as the relay asks: by a password, or ?token_url= or ?token_command= for access tokens",
    "auth_refused": "correct user and password; with access tokens, see who may send with the token of ?token_url=",
    "token_refused": "correct token_url, client_id, client_secret_file, scope or token_command",
    "token_unavailable": "see whether ?token_url= can be reached from here, or why ?token_command= takes so long",
}
MENDS = {
    Blame.RELAY: "mend the relay; then notify doctor, notify relays probe or a worker's own probe closes it",
    Blame.CONFIGURATION: "check NOTIFY_SMTP_URL, NOTIFY_BOUNCE_ADDRESS and NOTIFY_MAIL_FROM; then notify send-test",
    Blame.THROTTLE: "wait, or have the quota raised",
}


def relay(here: Place) -> Iterator[Finding]:
    """
    Whether each relay takes a session, whether its certificate lasts, and whether its breaker is closed.

    The first goes by its role, the others by their names.
    """
    configured = wiring.relays(here.settings)
    if not configured:
        yield Finding("relay", False, wiring.NO_MAIL, NO_RELAY, "set NOTIFY_SMTP_URL")
        return
    takers = {}
    for one, seen in zip(configured, asyncio.run(_examined(configured)), strict=True):
        which = "" if one is configured[0] else f" {one.name}"
        yield _session(one.name, seen.refused, which=which)
        yield from certificate(seen, which=which)
        yield from _size(seen, which=which)
        if seen.refused is None:
            takers[one.name] = one
    yield from _shared(here)
    yield from breaker(here, takers=takers)


async def _examined(configured: Sequence[Relay]) -> Sequence[Examined]:
    return await asyncio.gather(*(examine(one) for one in configured))


def _session(name: str, refused: Released | None, *, which: str) -> Finding:
    """Whether it connected, greeted, started TLS, logged in and answered."""
    if refused is None:
        return Finding(f"relay{which}", True, f"{name} takes sessions", NO_RELAY, "")
    mend = _remedy(refused, FALLBACKS if which else SETTING)
    return Finding(f"relay{which}", False, f"{name} {refusal(refused)}", NO_RELAY, mend)


def certificate(examined: Examined, *, which: str = "", now: datetime | None = None) -> Sequence[Finding]:
    """How long the relay's certificate lasts; nothing where it has none."""
    ends = examined.certificate_ends
    if ends is None:
        return []
    left = ends - (now or datetime.now(UTC))
    words, why = f"ends on {ends:%Y-%m-%d}, in {left.days} days", "After that no email goes to the relay."
    return [Finding(f"certificate{which}", left > SOON, words, why, "renew it at the relay")]


def _size(examined: Examined, *, which: str) -> Sequence[Finding]:
    """Whether the relay takes the largest emails; nothing where it states no limit."""
    if examined.largest is None:
        return []
    words = f"takes messages of up to {examined.largest:,} bytes; the largest email has up to {LARGEST_EMAIL_BYTES:,}"
    enough = examined.largest >= LARGEST_EMAIL_BYTES
    return [Finding(f"size limit{which}", enough, words, "A larger email ends as dead (oversize).", RAISE_LIMIT)]


def breaker(here: Place, *, takers: Mapping[str, Relay] = NONE) -> Iterator[Finding]:
    """
    Whether emails are claimed for each configured relay.

    Args:
        takers: The relays that have just taken a session: an open breaker of theirs is closed, unless they are muted.
    """
    names = wiring.relay_names(here.settings)
    if not names:
        return
    with here.database.begin() as connection:
        found = relays.breakers(connection)
    for name in names:
        standing = found.get(name, BreakerState())
        closes_now = name in takers and standing.state == OPEN and not standing.is_muted and closes(here, name)
        closed = takers[name] if closes_now else None
        yield _breaker(name, standing, about="breaker" if name == names[0] else f"breaker {name}", closed=closed)


def _shared(here: Place) -> Sequence[Finding]:
    """How many sessions workers have of those that they may have together; nothing where no cap is stated."""
    stated = [one for one in known(here) if one.fleet_sessions is not None]
    why = "Emails wait for a session while other workers have all of them."
    return [Finding(f"sessions {one.relay}", True, f"workers have {cap(one)} together", why, "") for one in stated]


def _breaker(name: str, standing: BreakerState, *, about: str, closed: Relay | None) -> Finding:
    words = f"; its last words: {standing.last_error}" if standing.is_open and standing.last_error else ""
    why = "While it is open nothing is claimed for this relay."
    if closed is None:
        return Finding(about, not standing.is_open, in_words(standing) + words, why, _mend(name, standing))
    found = f"was {in_words(standing)}{words}; closed now, as the relay takes sessions: emails flow again"
    return Finding(
        about, _is_answered(standing, closed), found, "A session does not show that this is mended.", SEND_TEST
    )


def _is_answered(standing: BreakerState, relay: Relay) -> bool:
    """Whether a session that stands shows that what opened the breaker is over; of logging in, if it logs in."""
    blame, _, reason = (standing.reason or "").partition(": ")
    if reason == "auth_refused" and relay.username is None:
        return False
    return blame == Blame.RELAY or reason in TOLD_BY_A_SESSION


def templates(here: Place) -> Sequence[Finding]:
    """Whether every event type renders in every language with this deployment's templates."""
    try:
        composer = wiring.composer(here.settings)
    except NotifyError as error:
        return [Finding("templates", False, str(error), "No email can be written.", "set what it names")]
    host = wiring.message_host(here.settings)
    return [_rendered(composer, event_type, host) for event_type in sorted({*TRIGGERS, COMMENT_MENTIONED})]


def _rendered(composer: Composer, event_type: str, host: str) -> Finding:
    failed = {}
    for locale in composer.languages:
        try:
            composer.compose(sample.letter(event_type, host=host, locale=locale), date=datetime.now(UTC))
        except NotifyError as error:
            failed[locale] = str(error)
    found = "; ".join(f"{locale}: {words}" for locale, words in failed.items())
    mend = f"notify preview {event_type} --locale {next(iter(failed))}" if failed else ""
    usual = f"renders in {', '.join(composer.languages)}"
    return Finding(f"template {event_type}", not failed, found or usual, "Emails of this type end dead.", mend)


def _remedy(refused: Released, setting: str) -> str:
    phase = refused.answer.phase if refused.answer else None
    if refused.reason == "size_limit":
        return RAISE_LIMIT
    if refused.reason == "url_makes_no_sense":
        return f"correct what it names in {setting}"
    if phase is Phase.AUTH:
        return f"{LOGS_IN.get(refused.reason, LOGS_IN['auth_refused'])} (in {setting}); then notify send-test"
    if phase is Phase.TLS and refused.blame is Blame.CONFIGURATION:
        return f"renew the relay's certificate, or name its authority by ?ca=FILE in {setting}"
    if refused.blame is Blame.CONFIGURATION:
        return MENDS[Blame.CONFIGURATION]
    return f"check that the relay runs and can be reached from here, and {setting}"


def _mend(name: str, standing: BreakerState) -> str:
    if standing.is_muted:
        return f"notify relays unmute {name}"
    if standing.is_open and standing.reason == f"{Blame.CONFIGURATION}: size_limit":
        return RAISE_LIMIT
    if standing.is_open and standing.reason == f"{Blame.THROTTLE}: {TOO_MANY_SESSIONS}":
        return FEWER_SESSIONS
    return next((MENDS[Blame(one)] for one in standing.held_open_by), MENDS[Blame.RELAY])
