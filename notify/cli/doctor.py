"""``notify doctor``: what is wrong, why it matters, and how to fix it."""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from typer import Exit

from notify.cli.checks import Check, Finding
from notify.cli.checks.database import database, transactions
from notify.cli.checks.delivery import delivery, unknown_change_lists
from notify.cli.checks.deployment import broker, callers, connections, settings, time_zones
from notify.cli.checks.mail import breaker, relay, templates
from notify.cli.checks.sender import sender
from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, console, print_json

CHECKS: Sequence[Check] = (
    database,
    broker,
    relay,
    sender,
    delivery,
    unknown_change_lists,
    connections,
    callers,
    settings,
    templates,
    time_zones,
)
# Cheap enough for every two seconds: no session with the relay, no template, no name server.
QUICK: Sequence[Check] = (transactions, broker, breaker, delivery)


def doctor(*, as_json: AsJson = False) -> None:
    """
    Check everything that notify needs. Exit code 1 if something is wrong.

    Checks the database (schema, open transactions, autovacuum, clock), the broker, each relay (session, certificate,
    breaker), the sender's domain (SPF, DKIM, DMARC), workers and queues, recent failures, contradictory settings, every
    template, and people's time zones.
    """
    with connect() as deployment:
        findings = examined(deployment, CHECKS)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.ok for finding in findings):
        raise Exit(1)


def examined(deployment: Deployment, checks: Sequence[Check]) -> list[Finding]:
    """What these checks find, as far as the database answers."""
    found: list[Finding] = []
    for check in checks:
        with suppress(SQLAlchemyError):
            found.extend(check(deployment))
    return found


def _print(finding: Finding) -> None:
    console.print(f"{'ok  ' if finding.ok else 'BAD '} {finding.about}: {finding.found}", markup=False)
    if not finding.ok:
        console.print(f"     {finding.why}\n     Fix: {finding.fix}", markup=False)
