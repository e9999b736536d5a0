"""``notify doctor``: what is wrong, why it matters, and how to fix it."""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from typer import Exit

from notify.cli.checks import Check, Finding
from notify.cli.checks.database import database, transactions
from notify.cli.checks.delivery import delivery, unknown_change_lists
from notify.cli.checks.deployment import broker, callers, connections, settings, stack, time_zones
from notify.cli.checks.event_types import event_types
from notify.cli.checks.forges import forges
from notify.cli.checks.mail import breaker, relay, templates
from notify.cli.checks.queues import queues
from notify.cli.checks.sender import sender
from notify.cli.checks.webhooks import webhooks
from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, console, print_json, print_wrapped

CHECKS: Sequence[Check] = (
    stack,
    database,
    broker,
    relay,
    sender,
    delivery,
    unknown_change_lists,
    forges,
    queues,
    webhooks,
    connections,
    callers,
    settings,
    event_types,
    templates,
    time_zones,
)
# Cheap enough for every two seconds: no session with the relay, no template, no name server.
QUICK: Sequence[Check] = (stack, transactions, broker, breaker, delivery)
# What can be known while the embedded stack is down.
WITHOUT_STACK: Sequence[Check] = (stack, database, transactions, unknown_change_lists, templates, time_zones)


def doctor(*, as_json: AsJson = False) -> None:
    """
    Check everything that notify needs. Exit code 1 if something is wrong.

    Checks the database (schema, open transactions, autovacuum, clock), the broker, each relay (session, certificate,
    breaker), each forge (credentials, permissions, clock, repositories, webhook deliveries), dead statuses, the
    operators, each queue of heads (git, ref, runner, right to start workflows, verdicts), each webhook endpoint
    (secret, failures, dead calls), the sender's domain (SPF, DKIM, DMARC), workers and their queues, recent failures,
    contradictory settings, event types of other packages, every template, and people's time zones.
    """
    with connect() as deployment:
        findings = run_checks(deployment, CHECKS)
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    if not all(finding.ok for finding in findings):
        raise Exit(1)


def run_checks(deployment: Deployment, checks: Sequence[Check]) -> list[Finding]:
    """What these checks find, as far as the database answers."""
    found: list[Finding] = []
    for check in checks:
        if deployment.stack_is_down and check not in WITHOUT_STACK:
            continue
        with suppress(SQLAlchemyError):
            found.extend(check(deployment))
    return found


def _print(findings: Sequence[Finding]) -> None:
    """What is wrong comes last, next to the prompt."""
    wrong = [one for one in findings if not one.ok]
    for finding in (*(one for one in findings if one.ok), *wrong):
        print_wrapped("ok" if finding.ok else "BAD", f"{finding.about}: {finding.found}")
        if not finding.ok:
            print_wrapped("", finding.why)
            print_wrapped("", f"Fix: {finding.fix}")
    verdict = f"{len(wrong)} of {len(findings)} checks found a problem" if wrong else "no problem found"
    console.print(f"\n{verdict}")
