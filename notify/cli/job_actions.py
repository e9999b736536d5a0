"""``notify jobs retry``, ``cancel`` and ``replay``: count, ask, then act on a page at a time under a progress bar."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from typer import Argument, Option, confirm

from notify.cli.connect import Deployment, connect
from notify.cli.job_filters import filtered
from notify.cli.output import AsJson, console, print_json, print_table
from notify.delivery.by_hand import pages
from notify.domain.errors import NotifyError
from notify.domain.stages import DELIVER
from notify.store.outbox import by_hand, jobs
from notify.store.outbox.by_hand import Action, Tally
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView

FIRST = 10
DONE = {Action.RETRY: "retried", Action.CANCEL: "cancelled", Action.REPLAY: "replayed"}
Ids = Annotated[list[int] | None, Argument(metavar="ID", help="Ids, as `notify jobs list` shows them.")]


class NoSuchJob(NotifyError):
    """There is no job with this id."""


class NothingAsked(NotifyError):
    """Neither an id nor a filter says which jobs are meant."""


class NotPossible(NotifyError):
    """The job's status does not allow this."""


def command(action: Action) -> Callable[..., None]:
    """The command that does this to the jobs that ids or filters name."""

    @filtered
    def command(
        ids: Ids = None,
        *,
        which: JobFilter,
        dry_run: Annotated[bool, Option("--dry-run", help="Only say how many jobs, and which first.")] = False,
        yes: Annotated[bool, Option("--yes", "-y", help="Do not ask, however many jobs it is.")] = False,
        as_json: AsJson = False,
    ) -> None:
        with connect() as deployment:
            _run(
                deployment,
                action,
                replace(which, ids=tuple(ids) if ids else None),
                dry_run=dry_run,
                yes=yes,
                as_json=as_json,
            )

    return command


def _run(deployment: Deployment, action: Action, which: JobFilter, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """
    Raises:
        NothingAsked: Nothing says which jobs are meant, which would be all of them.
        NoSuchJob: Some of the ids are unknown; nothing is done.
        NotPossible: The only job that was named does not allow it.
    """
    if which.is_everything:
        raise NothingAsked(action=action)
    with deployment.database.begin() as connection:
        known = (
            _known(jobs.matching(connection, JobFilter(ids=which.ids), limit=len(which.ids)), which)
            if which.ids
            else ()
        )
        tally = by_hand.tally(connection, action, which)
        first = jobs.matching(connection, which, allowing=action, limit=FIRST)
    if dry_run:
        _foretell(action, tally, first, as_json=as_json)
        return
    if len(known) == 1 and not tally.allowed:
        raise NotPossible(id=known[0].id, status=known[0].status)
    if tally.allowed > 1 and not yes:
        confirm(f"{action.capitalize()} {tally.allowed:,} jobs?", abort=True, err=True)
    done = _do(deployment, action, which, tally)
    if as_json:
        print_json({"matched": tally.matched, DONE[action]: len(done), "ids": done})
    else:
        console.print(f"{DONE[action]} {len(done):,} of {tally.matched:,} matching jobs")


def _known(known: Sequence[JobView], which: JobFilter) -> Sequence[JobView]:
    unknown = sorted(set(which.ids or ()) - {job.id for job in known})
    if unknown:
        raise NoSuchJob(id=", ".join(map(str, unknown)))
    return known


def _foretell(action: Action, tally: Tally, first: Sequence[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json({"matched": tally.matched, "allowed": tally.allowed, "first": first})
        return
    console.print(f"{tally.allowed:,} of {tally.matched:,} matching jobs would be {DONE[action]}")
    if first:
        print_table(
            ["id", "status", "why", "code", "person", "CL", "event", "written"],
            [
                (j.id, j.status, j.outcome_reason, j.last_code, j.username, j.topic, j.event_type, j.created_at)
                for j in first
            ],
        )


def _do(deployment: Deployment, action: Action, which: JobFilter, tally: Tally) -> list[int]:
    """The ids of the jobs changed or written; fewer than were counted if others changed some meanwhile."""
    done: list[int] = []
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(action, total=tally.allowed)
        for page in pages(deployment.database, action, which, last_id=tally.last_id):
            done += page.done
            progress.update(bar, completed=len(done))
            deployment.doorbell.ring(DELIVER)
    return done
