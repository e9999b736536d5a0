"""``notify doctor``: what is wrong, why it matters, and the command that mends it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kombu.connection import Connection as BrokerConnection
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from typer import Exit

from notify import wiring
from notify.cli import sample
from notify.cli.output import AsJson, console, print_json
from notify.cli.place import Place, place
from notify.cli.relays import in_words
from notify.domain.errors import NotifyError
from notify.domain.events import COMMENT_MENTIONED
from notify.domain.outcomes import Blame, Released
from notify.domain.ports import Channel
from notify.intake.triggers import TRIGGERS
from notify.store import migrate, relays
from notify.store.relays import Standing

OLDEST_SUPPORTED = 14
BROKER_SECONDS = 3
MENDS = {
    Blame.RELAY: "mend the relay; then a worker's probe closes it",
    Blame.CONFIGURATION: "check NOTIFY_SMTP_URL, NOTIFY_BOUNCE_ADDRESS and NOTIFY_MAIL_FROM; then notify send-test",
    Blame.THROTTLE: "wait, or have the quota raised",
}
LONG_TRANSACTIONS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start < now() - interval '1 minute' AND pid <> pg_backend_pid()
""")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; why it matters, and the command or setting that mends it."""

    about: str
    ok: bool
    found: str
    why: str
    mend: str


Check = Callable[[Place], Sequence[Finding]]


def doctor(*, as_json: AsJson = False) -> None:
    """Look at everything notify needs. Exit code 1 if something is wrong."""
    with place() as here:
        findings = [finding for check in CHECKS for finding in check(here)]
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.ok for finding in findings):
        raise Exit(1)


def database(here: Place) -> Sequence[Finding]:
    """Version, schema, and transactions that others hold open."""
    try:
        with here.database.begin() as connection:
            version = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
            revision = migrate.current(connection)
            held_open = connection.scalar(LONG_TRANSACTIONS) or 0
    except SQLAlchemyError as error:
        why = "Nothing works without it."
        return [Finding("database", False, f"no answer: {type(error).__name__}", why, "check NOTIFY_DATABASE_URL")]
    oldest, head = f"{OLDEST_SUPPORTED} is the oldest that is tested.", f"This code needs {migrate.head()}."
    behind = "Dead rows cannot be cleaned up behind them, and each claim gets slower."
    return [
        Finding("database", version >= OLDEST_SUPPORTED, f"PostgreSQL {version}", oldest, "upgrade PostgreSQL"),
        Finding("schema", (revision or "") >= migrate.head(), f"at {revision}", head, "notify migrate"),
        Finding("transactions", not held_open, f"{held_open} open for over a minute", behind, "see pg_stat_activity"),
    ]


def broker(here: Place) -> Sequence[Finding]:
    """Whether doorbells can be rung."""
    why, mend = "Without doorbells letters wait for the next sweep.", "check NOTIFY_BROKER_URL"
    if here.settings.broker_url is None:
        return [Finding("broker", False, "not configured", "Celery workers cannot start.", "set NOTIFY_BROKER_URL")]
    url = here.settings.broker_url.get_secret_value()
    try:
        with BrokerConnection(url, connect_timeout=BROKER_SECONDS) as connection:  # type: ignore[no-untyped-call]
            connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
            return [Finding("broker", True, f"{connection.transport.driver_type} answers", why, mend)]
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        return [Finding("broker", False, f"no answer: {type(error).__name__}", why, mend)]


def relay(here: Place) -> Sequence[Finding]:
    """Whether the relay takes a session, and whether its breaker is closed."""
    why, mend = "No letter leaves; none is claimed, and none loses an attempt.", "check NOTIFY_SMTP_URL"
    channel = wiring.channel(here.settings)
    if channel is None:
        return [Finding("relay", False, wiring.NO_MAIL, why, "set NOTIFY_SMTP_URL")]
    refused = asyncio.run(_open(channel))
    words = f"{refused.reason} {refused.answer.text if refused.answer else ''}" if refused else "takes sessions"
    return [
        Finding("relay", refused is None, f"{channel.relay} {words}".strip(), why, mend),
        *_breaker(here, channel.relay),
    ]


def templates(here: Place) -> Sequence[Finding]:
    """Whether every event type renders with this deployment's templates."""
    return [_rendered(here, event_type) for event_type in sorted({*TRIGGERS, COMMENT_MENTIONED})]


CHECKS: Sequence[Check] = (database, broker, relay, templates)


def _breaker(here: Place, relay: str) -> Sequence[Finding]:
    try:
        with here.database.begin() as connection:
            standing = relays.standing(connection, relay)
    except SQLAlchemyError:
        return []
    words = f"; its last words: {standing.last_error}" if standing.is_open and standing.last_error else ""
    why = "While it is open nothing is claimed."
    return [Finding("breaker", not standing.is_open, in_words(standing) + words, why, _mend(relay, standing))]


def _mend(relay: str, standing: Standing) -> str:
    if standing.is_muted:
        return f"notify relays unmute {relay}"
    return next((MENDS[Blame(one)] for one in standing.held_by), MENDS[Blame.RELAY])


def _rendered(here: Place, event_type: str) -> Finding:
    found = "renders"
    try:
        host = wiring.message_host(here.settings)
        wiring.composer(here.settings).compose(sample.letter(event_type, host=host), date=datetime.now(UTC))
    except NotifyError as error:
        found = str(error)
    why = "Letters of this type end dead."
    return Finding(f"template {event_type}", found == "renders", found, why, f"notify preview {event_type}")


async def _open(channel: Channel) -> Released | None:
    try:
        return await channel.open()
    finally:
        await channel.close()


def _print(finding: Finding) -> None:
    console.print(f"{'ok  ' if finding.ok else 'BAD '} {finding.about}: {finding.found}", markup=False)
    if not finding.ok:
        console.print(f"     {finding.why}\n     Mend: {finding.mend}", markup=False)
