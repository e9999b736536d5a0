"""``notify jobs``: where is my letter, and what may be done about it by hand."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, Option, Typer

from notify import wiring
from notify.channels.email.writing.compose import Composed
from notify.cli.by_hand import NoSuchJob, many
from notify.cli.filters import filtered
from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.place import Place, place
from notify.delivery import shown
from notify.domain.errors import NotifyError
from notify.domain.jobs import Stage
from notify.intake.explain import traces
from notify.store import jobs
from notify.store.by_hand import Action
from notify.store.jobs import AttemptView, JobView
from notify.store.which import Which

app = Typer(help="Where letters are, and what may be done about them by hand.", no_args_is_help=True)


JobId = Annotated[int, Argument(metavar="ID", help="The job's id, as `notify jobs list` shows it.")]
Ids = Annotated[list[int] | None, Argument(metavar="ID", help="Ids, as `notify jobs list` shows them.")]
ACTS: dict[Action, Callable[[Connection, int], int | None]] = {
    Action.RETRY: jobs.retry,
    Action.CANCEL: jobs.cancel,
    Action.REPLAY: jobs.replay,
}


class NotPossible(NotifyError):
    """The job's status does not allow this."""


@app.command("list")
@filtered
def list_(
    *,
    which: Which,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one: the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest letters and skips, newest first."""
    with place() as here:
        found = _newest(here, which, below=below, limit=limit)
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
def show(
    job_id: JobId,
    *,
    letter: Annotated[bool, Option("--letter", help="The letter too, as it would be written today.")] = False,
    as_json: AsJson = False,
) -> None:
    """One letter, every try that did not end in sent, its event, and the rules that say why it is told today."""
    with place() as here:
        with here.database.begin() as connection:
            job = jobs.show(connection, job_id)
            if job is None:
                raise NoSuchJob(id=job_id)
            tries = jobs.attempts(connection, job_id)
            event = jobs.event(connection, job.event_id)
            trace = traces(connection, [job])[job_id]
            asked = shown.letter(connection, job_id) if letter else None
        written = None if asked is None else wiring.showing(here.settings).compose(asked, date=datetime.now(UTC))
    if as_json:
        words = {} if written is None else {"letter": _words(written)}
        print_json({**asdict(job), "attempts": tries, "event": event, "trace": trace, **words})
        return
    print_table(["", ""], [(name, value) for name, value in asdict(job).items() if value is not None])
    _print_tries(tries)
    console.print(f"\n{event.type} by {event.actor}, key {event.key}", markup=False)
    print_table(["rule", "found today"], [(step.rule, step.found) for step in trace])
    if written is not None:
        console.print(f"\nSubject: {written.subject}\n\n{written.text}", markup=False)


def _print_tries(tries: Sequence[AttemptView]) -> None:
    if tries:
        console.print()
        print_table(
            ["try", "at", "took", "phase", "code", "verdict", "relay", "the relay's words"],
            [(one.attempt, one.at, _took(one), one.phase, one.code, one.verdict, one.relay, one.text) for one in tries],
        )


def _took(one: AttemptView) -> str | None:
    return None if one.took_ms is None else f"{one.took_ms:,} ms"


def _words(written: Composed) -> dict[str, str]:
    return {"subject": written.subject, "text": written.text, "html": written.html}


def _command(action: Action) -> Callable[..., None]:
    """The command that does this to one letter or to many; its options are the same whatever it does."""

    @filtered
    def command(
        ids: Ids = None,
        *,
        which: Which,
        dry_run: Annotated[bool, Option("--dry-run", help="Only say how many letters, and which first.")] = False,
        yes: Annotated[bool, Option("--yes", "-y", help="Do not ask, however many letters it is.")] = False,
        as_json: AsJson = False,
    ) -> None:
        which = replace(which, ids=tuple(ids) if ids else None)
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


def _newest(here: Place, which: Which, *, below: int | None, limit: int) -> list[JobView]:
    """As many as are wanted, however many looks at the table that takes."""
    found: list[JobView] = []
    with here.database.begin() as connection:
        while len(found) < limit:
            page = jobs.page(connection, which, below=below, limit=limit - len(found))
            found += page.jobs
            if page.below is None:
                break
            below = page.below
    return found


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
