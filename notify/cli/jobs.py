"""``notify jobs``: where is my letter, and what may be done about it by hand."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, BadParameter, Option, Typer

from notify.cli.by_hand import NoSuchJob, many
from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.place import Place, place
from notify.domain.errors import NotifyError
from notify.domain.jobs import Stage
from notify.store import jobs
from notify.store.by_hand import Action, Which

app = Typer(help="Where letters are, and what may be done about them by hand.", no_args_is_help=True)


def instant(text: str) -> datetime:
    """
    The instant that an ISO 8601 text names; UTC unless it says otherwise.

    Raises:
        BadParameter: It names none.
    """
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        message = "expected an instant such as 2026-01-31T14:00 (UTC) or 2026-01-31T14:00+01:00"
        raise BadParameter(message) from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


JobId = Annotated[int, Argument(metavar="ID", help="The job's id, as `notify jobs list` shows it.")]
Ids = Annotated[list[int] | None, Argument(metavar="ID", help="Ids, as `notify jobs list` shows them.")]
Status = Annotated[str | None, Option(help="pending, sending, sent, skipped, dead, expired or cancelled.")]
Cl = Annotated[str | None, Option(help="Only letters about this change list.")]
Username = Annotated[str | None, Option(help="Only letters to this person.")]
EventKey = Annotated[str | None, Option(help="Only letters about the event with this key.")]
Reason = Annotated[str | None, Option(help="Only letters that stand as they do for this reason: template_error.")]
Code = Annotated[int | None, Option(help="Only letters whose last try was answered with this SMTP code: 554.")]
After = Annotated[
    datetime | None, Option(parser=instant, metavar="INSTANT", help="Only letters written at this instant or later.")
]
Before = Annotated[
    datetime | None, Option(parser=instant, metavar="INSTANT", help="Only letters written before this instant.")
]
ACTS: dict[Action, Callable[[Connection, int], int | None]] = {
    Action.RETRY: jobs.retry,
    Action.CANCEL: jobs.cancel,
    Action.REPLAY: jobs.replay,
}


class NotPossible(NotifyError):
    """The job's status does not allow this."""


@app.command("list")
def list_(
    *,
    status: Status = None,
    cl: Cl = None,
    username: Username = None,
    event: EventKey = None,
    reason: Reason = None,
    code: Code = None,
    after: After = None,
    before: Before = None,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one: the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest letters and skips, newest first."""
    which = Which(
        status=status,
        cl_link=cl,
        username=username,
        event_key=event,
        outcome_reason=reason,
        last_code=code,
        created_from=after,
        created_before=before,
    )
    with place() as here, here.database.begin() as connection:
        found = jobs.matching(connection, which, before_id=below, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "status", "why", "person", "reason", "CL", "event", "failures", "due"],
        [
            (j.id, j.status, j.outcome_reason, j.username, j.reason, j.cl_link, j.event_type, j.failures, j.due_at)
            for j in found
        ],
    )


@app.command()
def show(job_id: JobId, *, as_json: AsJson = False) -> None:
    """One letter, with every try that did not end in sent."""
    with place() as here, here.database.begin() as connection:
        job = jobs.show(connection, job_id)
        tries = jobs.attempts(connection, job_id)
    if job is None:
        raise NoSuchJob(id=job_id)
    if as_json:
        print_json({**asdict(job), "attempts": tries})
        return
    print_table(["", ""], [(name, value) for name, value in asdict(job).items() if value is not None])
    if tries:
        console.print()
        print_table(
            ["try", "at", "phase", "code", "verdict", "the relay's words"],
            [(one.attempt, one.at, one.phase, one.code, one.verdict, one.text) for one in tries],
        )


def _command(action: Action) -> Callable[..., None]:
    """The command that does this to one letter or to many; its options are the same whatever it does."""

    def command(
        ids: Ids = None,
        *,
        status: Status = None,
        cl: Cl = None,
        username: Username = None,
        event: EventKey = None,
        reason: Reason = None,
        code: Code = None,
        after: After = None,
        before: Before = None,
        dry_run: Annotated[bool, Option("--dry-run", help="Only say how many letters, and which first.")] = False,
        yes: Annotated[bool, Option("--yes", "-y", help="Do not ask, however many letters it is.")] = False,
        as_json: AsJson = False,
    ) -> None:
        which = Which(
            ids=tuple(ids) if ids else None,
            status=status,
            cl_link=cl,
            username=username,
            event_key=event,
            outcome_reason=reason,
            last_code=code,
            created_from=after,
            created_before=before,
        )
        with place() as here:
            if which.ids is not None and len(which.ids) == 1 and which == Which(ids=which.ids) and not dry_run:
                _one(here, action, which.ids[0], as_json=as_json)
            else:
                many(here, action, which, dry_run=dry_run, yes=yes, as_json=as_json)

    return command


app.command("retry", help="Make letters due now; raises budget and expiry where they are spent, resets no history.")(
    _command(Action.RETRY)
)
app.command("cancel", help="End letters that are not out. One on its way at this moment may arrive, and is then sent.")(
    _command(Action.CANCEL)
)
app.command("replay", help="Write letters that have ended once more, as new jobs with Message-IDs of their own.")(
    _command(Action.REPLAY)
)


def _one(here: Place, action: Action, job_id: int, *, as_json: bool) -> None:
    with here.database.begin() as connection:
        result = ACTS[action](connection, job_id)
        job = jobs.show(connection, job_id)
    if job is None:
        raise NoSuchJob(id=job_id)
    if not result:
        raise NotPossible(id=job_id, status=job.status)
    here.doorbell.ring(Stage.DELIVER)
    if action is Action.REPLAY:
        _say(as_json, id=result, status="pending", replay_of=job_id)
    else:
        _say(as_json, id=job_id, status=job.status)


def _say(as_json: bool, **facts: object) -> None:
    if as_json:
        print_json(facts)
    else:
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
