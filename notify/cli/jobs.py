"""``notify jobs``: what became of an email, and what may be done about it by hand."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from typer import Argument, Option, Typer

from notify import wiring
from notify.cli.connect import Deployment, connect
from notify.cli.job_actions import NoSuchJob, command
from notify.cli.job_filters import filtered
from notify.cli.output import AsJson, console, print_json, print_table
from notify.delivery import shown
from notify.intake.explain import traces
from notify.store.outbox import jobs
from notify.store.outbox.by_hand import Action
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import AttemptView, JobView

app = Typer(help="What became of emails, and what may be done about them by hand.", no_args_is_help=True)


@app.command("list")
@filtered
def list_(
    *,
    which: JobFilter,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one: the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Email jobs, newest first."""
    with connect() as deployment:
        found = _newest(deployment, which, below=below, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "status", "why", "person", "reason", "CL", "event", "events", "failures", "due"],
        [
            (
                j.id,
                j.status,
                j.outcome_reason,
                j.username,
                j.reason,
                j.topic,
                j.event_type,
                j.notification_count,
                j.failures,
                j.due_at,
            )
            for j in found
        ],
    )


@app.command()
def show(
    job_id: Annotated[int, Argument(metavar="ID", help="The job's id, as `notify jobs list` shows it.")],
    *,
    email: Annotated[bool, Option("--email", help="The email too, as it would be written today.")] = False,
    as_json: AsJson = False,
) -> None:
    """One job, every attempt that did not end in sent, what it tells of, and the rules that say why it does today."""
    with connect() as deployment:
        with deployment.database.begin() as connection:
            job = jobs.show(connection, job_id)
            if job is None:
                raise NoSuchJob(id=job_id)
            attempts = jobs.attempts(connection, job_id)
            told = jobs.of_job(connection, job)
            trace = traces(connection, told)
            found = shown.email(connection, job_id) if email else None
        written = found and wiring.showing(deployment.settings).compose(found, date=datetime.now(UTC))
    if as_json:
        words = {"email": {part: getattr(written, part) for part in ("subject", "text", "html")}} if written else {}
        notifications = [{**asdict(one), "trace": trace[one.id]} for one in told]
        print_json({**asdict(job), "attempts": attempts, "notifications": notifications, **words})
        return
    print_table(["", ""], [(name, value) for name, value in asdict(job).items() if value is not None])
    _print_attempts(attempts)
    for one in told:
        console.print(f"\n{one.event_type} on {one.topic} as {one.reason}, key {one.event_key}", markup=False)
        print_table(["rule", "found today"], [(step.rule, step.found) for step in trace[one.id]])
    if written:
        console.print(f"\nSubject: {written.subject}\n\n{written.text}", markup=False)


app.command("retry", help="Make jobs due now; raises budget and expiry where they are spent, resets no history.")(
    command(Action.RETRY)
)
app.command("cancel", help="End jobs that are not sent. One on its way at this moment may arrive, and is then sent.")(
    command(Action.CANCEL)
)
app.command("replay", help="Write emails that have ended once more, as new jobs with Message-IDs of their own.")(
    command(Action.REPLAY)
)


def _print_attempts(attempts: Sequence[AttemptView]) -> None:
    if attempts:
        console.print()
        print_table(
            ["attempt", "at", "took", "phase", "code", "verdict", "relay", "the relay's words"],
            [(a.attempt, a.at, _took(a), a.phase, a.code, a.verdict, a.relay, a.text) for a in attempts],
        )


def _took(attempt: AttemptView) -> str | None:
    return None if attempt.took_ms is None else f"{attempt.took_ms:,} ms"


def _newest(deployment: Deployment, which: JobFilter, *, below: int | None, limit: int) -> list[JobView]:
    """Up to *limit* jobs; the store looks at a bounded part of the table at a time."""
    found: list[JobView] = []
    with deployment.database.begin() as connection:
        while len(found) < limit:
            page = jobs.page(connection, which, below=below, limit=limit - len(found))
            found += page.jobs
            if page.below is None:
                break
            below = page.below
    return found
