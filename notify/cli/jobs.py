"""``notify jobs``: list and show email jobs; retry, cancel or replay them by hand."""

from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated

from typer import Argument, Option, Typer

from notify import wiring
from notify.cli.connect import Deployment, connect
from notify.cli.job_actions import COLUMNS, NoSuchJob, command
from notify.cli.job_filters import filtered
from notify.cli.output import (
    AsJson,
    console,
    print_facts,
    print_json,
    print_records,
    print_table,
    print_wrapped,
    relative,
)
from notify.delivery.recheck import email_of
from notify.intake.explain import traces
from notify.store.outbox import jobs
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import AttemptView, JobView
from notify.store.outbox.retry_cancel_replay import Action

app = Typer(help="List email jobs; retry, cancel or replay them.", no_args_is_help=True)


@app.command("list")
@filtered
def list_(
    *,
    job_filter: JobFilter,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one, for the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="How many jobs to list at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List email jobs, newest first."""
    with connect() as deployment:
        found = _newest(deployment, job_filter, below=below, limit=limit)
    print_records(found, COLUMNS, empty="no job matches", as_json=as_json)


@app.command()
def show(
    job_id: Annotated[int, Argument(metavar="ID", help="The job's id, as `notify jobs list` shows it.")],
    *,
    email: Annotated[bool, Option("--email", help="Also show the email as it would be written today.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one job: its failed attempts, its notifications, and the rules that decide about each today."""
    with connect() as deployment:
        with deployment.database.begin() as connection:
            job = jobs.show(connection, job_id)
            if job is None:
                raise NoSuchJob(id=job_id)
            attempts = jobs.attempts(connection, job_id)
            notifications = jobs.of_job(connection, job)
            trace = traces(connection, notifications)
            facts = email_of(connection, job_id) if email else None
        composed = facts and wiring.preview_composer(deployment.settings).compose(facts, date=datetime.now(UTC))
    if as_json:
        forms = ("subject", "text", "html")
        written = {"email": {name: getattr(composed, name) for name in forms}} if composed else {}
        traced = [{**asdict(one), "trace": trace[one.id]} for one in notifications]
        print_json({**asdict(job), "attempts": attempts, "notifications": traced, **written})
        return
    print_facts(asdict(job))
    if attempts:
        console.print("\nattempts that failed:")
    for attempt in attempts:
        _print_attempt(attempt)
    # The events of a digest are mostly decided about alike.
    for steps, alike in groupby(notifications, key=lambda one: trace[one.id]):
        console.print()
        for one in alike:
            console.print(f"{one.event_type} on {one.topic} as {one.reason}, key {one.event_key}", markup=False)
        print_table(["rule", "found today"], [(step.rule, step.found) for step in steps])
    if composed:
        console.print(f"\nSubject: {composed.subject}\n\n{composed.text}", markup=False)


app.command("retry", help="Make jobs due now. Extends a spent retry budget or expiry, and keeps the history.")(
    command(Action.RETRY)
)
app.command(
    "cancel", help="Cancel jobs that have not been sent. An email that is being sent right now may still arrive."
)(command(Action.CANCEL))
app.command("replay", help="Send finished emails again, as new jobs with new Message-IDs.")(command(Action.REPLAY))


def _print_attempt(attempt: AttemptView) -> None:
    phase, took = attempt.phase and f"in {attempt.phase}", attempt.took_ms is not None and f"{attempt.took_ms} ms"
    facts = (relative(attempt.at), attempt.outcome, phase, attempt.relay, took)
    print_wrapped(str(attempt.attempt), ", ".join(str(fact) for fact in facts if fact))
    answer = " ".join(str(part) for part in (attempt.code, attempt.enhanced_code, attempt.text) if part)
    print_wrapped("", answer)


def _newest(deployment: Deployment, job_filter: JobFilter, *, below: int | None, limit: int) -> list[JobView]:
    """Up to *limit* jobs; the store searches a bounded range of ids at a time."""
    found: list[JobView] = []
    with deployment.database.begin() as connection:
        while len(found) < limit:
            page = jobs.page(connection, job_filter, below=below, limit=limit - len(found))
            found += page.jobs
            if page.below is None:
                break
            below = page.below
    return found
