"""The way of a letter: the relay, its certificate, its breaker, and whether every letter can be written."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from notify import wiring
from notify.channels.email.compose import Composer
from notify.channels.email.examine import Examined, examine
from notify.cli import sample
from notify.cli.checks import Finding
from notify.cli.place import Place
from notify.cli.relays import in_words
from notify.domain.errors import NotifyError
from notify.domain.events import COMMENT_MENTIONED
from notify.domain.outcomes import Blame, Phase, Released
from notify.intake.triggers import TRIGGERS
from notify.store import relays
from notify.store.relays import Standing

SOON = timedelta(days=14)
NO_LETTER = "No letter leaves; none is claimed, and none loses an attempt."
MENDS = {
    Blame.RELAY: "mend the relay; then a worker's probe closes it",
    Blame.CONFIGURATION: "check NOTIFY_SMTP_URL, NOTIFY_BOUNCE_ADDRESS and NOTIFY_MAIL_FROM; then notify send-test",
    Blame.THROTTLE: "wait, or have the quota raised",
}


def relay(here: Place) -> Sequence[Finding]:
    """Whether the relay takes a session, whether its certificate lasts, and whether its breaker is closed."""
    configured = wiring.relay(here.settings)
    if configured is None:
        return [Finding("relay", False, wiring.NO_MAIL, NO_LETTER, "set NOTIFY_SMTP_URL")]
    examined = asyncio.run(examine(configured))
    return [session(configured.name, examined.refused), *certificate(examined), *breaker(here)]


def session(name: str, refused: Released | None) -> Finding:
    """Whether it connected, greeted, started TLS, logged in and answered."""
    if refused is None:
        return Finding("relay", True, f"{name} takes sessions", NO_LETTER, "")
    answer = refused.answer
    code, words = (answer.code or "", answer.text) if answer else ("", "")
    found = " ".join(str(part) for part in (name, refused.reason, code, words) if part)
    return Finding("relay", False, found, NO_LETTER, _remedy(refused))


def certificate(examined: Examined, *, now: datetime | None = None) -> Sequence[Finding]:
    """How long the relay's certificate lasts; nothing where it has none."""
    ends = examined.certificate_ends
    if ends is None:
        return []
    left = ends - (now or datetime.now(UTC))
    words = f"ends on {ends:%Y-%m-%d}, in {left.days} days"
    return [Finding("certificate", left > SOON, words, "After that no letter leaves.", "renew it at the relay")]


def breaker(here: Place) -> Sequence[Finding]:
    """Whether letters are claimed for the configured relay; nothing if the database does not answer."""
    name = wiring.relay_name(here.settings)
    if name is None:
        return []
    try:
        with here.database.begin() as connection:
            standing = relays.standing(connection, name)
    except SQLAlchemyError:
        return []
    words = f"; its last words: {standing.last_error}" if standing.is_open and standing.last_error else ""
    why = "While it is open nothing is claimed."
    return [Finding("breaker", not standing.is_open, in_words(standing) + words, why, _mend(name, standing))]


def templates(here: Place) -> Sequence[Finding]:
    """Whether every event type renders in every language with this deployment's templates."""
    try:
        composer = wiring.composer(here.settings)
    except NotifyError as error:
        return [Finding("templates", False, str(error), "No letter can be written.", "set what it names")]
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
    return Finding(f"template {event_type}", not failed, found or usual, "Letters of this type end dead.", mend)


def _remedy(refused: Released) -> str:
    phase = refused.answer.phase if refused.answer else None
    if phase is Phase.AUTH:
        return "correct user and password in NOTIFY_SMTP_URL; then notify send-test"
    if phase is Phase.TLS and refused.blame is Blame.CONFIGURATION:
        return (
            f"renew the relay's certificate, or trust its authority ({ssl.get_default_verify_paths().openssl_cafile})"
        )
    if refused.blame is Blame.CONFIGURATION:
        return MENDS[Blame.CONFIGURATION]
    return "check that the relay runs and can be reached from here, and NOTIFY_SMTP_URL"


def _mend(name: str, standing: Standing) -> str:
    if standing.is_muted:
        return f"notify relays unmute {name}"
    return next((MENDS[Blame(one)] for one in standing.held_by), MENDS[Blame.RELAY])
