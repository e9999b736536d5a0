"""``notify jobs retry``, ``cancel`` and ``replay``: count, ask, then act on a page at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, confirm

from notify.cli.connect import Deployment, connect
from notify.cli.job_filters import filtered
from notify.cli.output import AsJson, Columns, DryRun, Yes, console, print_json, print_records, progress_bar, when
from notify.delivery.bulk_actions import pages
from notify.domain.errors import NotifyError
from notify.domain.stages import DELIVER
from notify.store.outbox import jobs, retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView
from notify.store.outbox.retry_cancel_replay import Action, JobCount

FIRST = 10
DONE = {Action.RETRY: "retried", Action.CANCEL: "cancelled", Action.REPLAY: "replayed"}


def _why(job: JobView) -> str | None:
    """What a job waits for, or why it has its status."""
    if job.outcome_reason:
        return f"{job.outcome_reason} {job.last_code or ''}".rstrip()
    return job.deferred_by.replace("_", " ") if job.deferred_by else None


def _event(job: JobView) -> str:
    return job.event_type if job.notification_count == 1 else f"{job.notification_count} events"


COLUMNS: Columns = {
    "id": "id",
    "status": "status",
    "why": _why,
    "person": "username",
    "topic": "topic",
    "event": _event,
    "when": lambda job: when(job.due_at, job.finished_at),
}
"""Of a job that waits, when it leaves; of one that has ended, since when."""


class NoSuchJob(NotifyError):
    """There is no job with this id."""


class NoJobsSelected(NotifyError):
    """Expected ids or filters to say which jobs; `notify jobs list` has the same filters."""


class ActionNotAllowed(NotifyError):
    """The job's status does not allow this."""


def command(action: Action) -> Callable[..., None]:
    """The command that does this to the jobs that ids and filters select."""

    @filtered
    def command(
        ids: Annotated[list[int] | None, Argument(metavar="ID", help="Ids, as `notify jobs list` shows them.")] = None,
        *,
        job_filter: JobFilter,
        dry_run: DryRun = False,
        yes: Yes = False,
        as_json: AsJson = False,
    ) -> None:
        selected = replace(job_filter, ids=tuple(ids) if ids else None)
        with connect() as deployment:
            _run(deployment, action, selected, dry_run=dry_run, yes=yes, as_json=as_json)

    return command


def _run(
    deployment: Deployment, action: Action, selected: JobFilter, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """
    Raises:
        NoJobsSelected: That would be every job.
        NoSuchJob: Some of the ids are unknown; nothing is done.
        ActionNotAllowed: There is one id, and its job's status does not allow it.
    """
    if selected.is_everything:
        raise NoJobsSelected(action=action)
    with deployment.database.begin() as connection:
        named = _jobs_with_ids(connection, selected.ids or ())
        tally = retry_cancel_replay.count(connection, action, selected)
        first = jobs.matching(connection, selected, allowing=action, limit=FIRST)
    if dry_run:
        _print_dry_run(action, tally, first, as_json=as_json)
        return
    if len(named) == 1 and not tally.allowed:
        raise ActionNotAllowed(id=named[0].id, status=named[0].status)
    if tally.allowed > 1 and not yes:
        confirm(f"{action.capitalize()} {tally.allowed:,} jobs?", abort=True, err=True)
    # Fewer than were counted if others changed some meanwhile.
    done: list[int] = []
    with progress_bar() as progress:
        bar = progress.add_task(action, total=tally.allowed)
        for page in pages(deployment.database, action, selected, last_id=tally.last_id):
            done += page.done
            progress.update(bar, completed=len(done))
            deployment.doorbell.ring(DELIVER)
    if as_json:
        print_json({"matched": tally.matched, DONE[action]: len(done), "ids": done})
    else:
        console.print(f"{DONE[action]} {len(done):,} of {tally.matched:,} matching jobs")


def _jobs_with_ids(connection: Connection, ids: Sequence[int]) -> Sequence[JobView]:
    found = jobs.matching(connection, JobFilter(ids=tuple(ids)), limit=len(ids)) if ids else ()
    unknown = sorted(set(ids) - {job.id for job in found})
    if unknown:
        raise NoSuchJob(id=", ".join(map(str, unknown)))
    return found


def _print_dry_run(action: Action, tally: JobCount, first: Sequence[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json({"matched": tally.matched, "allowed": tally.allowed, "first": first})
        return
    console.print(f"{tally.allowed:,} of {tally.matched:,} matching jobs would be {DONE[action]}")
    if first:
        print_records(first, COLUMNS)
