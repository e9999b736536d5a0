"""Doing something to many letters: say how many, ask, then do it a page at a time under a progress bar."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from typer import confirm

from notify.cli.output import console, print_json, print_table
from notify.cli.place import Place
from notify.delivery import by_hand as work
from notify.domain.errors import NotifyError
from notify.domain.jobs import Stage
from notify.store import by_hand, jobs
from notify.store.by_hand import Action, Tally
from notify.store.jobs import JobView
from notify.store.which import Which

FIRST = 10
DONE = {Action.RETRY: "retried", Action.CANCEL: "cancelled", Action.REPLAY: "replayed"}


class NoSuchJob(NotifyError):
    """There is no job with this id."""


class NothingAsked(NotifyError):
    """Neither an id nor a filter says which letters are meant."""


def many(here: Place, action: Action, which: Which, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """
    Do it to every letter that is meant and whose state allows it; ask first when it is more than one.

    Raises:
        NothingAsked: Nothing says which letters are meant, which would be all of them.
        NoSuchJob: Some of the ids are of no letter; nothing is done.
    """
    if which.is_everything:
        raise NothingAsked(action=action)
    with here.database.begin() as connection:
        if which.ids is not None:
            known = jobs.matching(connection, Which(ids=which.ids), limit=len(which.ids))
            _all_known(which.ids, known)
        tally = by_hand.tally(connection, action, which)
        first = jobs.matching(connection, which, allowing=action, limit=FIRST)
    if dry_run:
        _foretell(action, tally, first, as_json=as_json)
        return
    if tally.allowed > 1 and not yes:
        confirm(f"{action.capitalize()} {tally.allowed:,} letters?", abort=True, err=True)
    done = _do(here, action, which, tally)
    if as_json:
        print_json({"matched": tally.matched, DONE[action]: done})
    else:
        console.print(f"{DONE[action]} {done:,} of {tally.matched:,} letters that match")


def _all_known(ids: Sequence[int], known: Sequence[JobView]) -> None:
    unknown = sorted(set(ids) - {job.id for job in known})
    if unknown:
        raise NoSuchJob(id=", ".join(map(str, unknown)))


def _foretell(action: Action, tally: Tally, first: Sequence[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json({"matched": tally.matched, "allowed": tally.allowed, "first": first})
        return
    console.print(f"{tally.allowed:,} of {tally.matched:,} letters that match would be {DONE[action]}")
    if first:
        print_table(
            ["id", "status", "why", "code", "person", "CL", "event", "written"],
            [
                (j.id, j.status, j.outcome_reason, j.last_code, j.username, j.cl_link, j.event_type, j.created_at)
                for j in first
            ],
        )


def _do(here: Place, action: Action, which: Which, tally: Tally) -> int:
    """How many it was done to, which others may have changed since they were counted."""
    done = 0
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(action, total=tally.allowed)
        for page in work.pages(here.database, action, which, last_id=tally.last_id):
            done += len(page.done)
            progress.update(bar, completed=done)
            here.doorbell.ring(Stage.DELIVER)
    return done
