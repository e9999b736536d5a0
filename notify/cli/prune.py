"""``notify prune``: what is finished and old goes now, rather than when beat says so."""

from typing import Annotated

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from typer import Option

from notify.cli.connect import connect
from notify.cli.output import AsJson, console, print_json
from notify.delivery.retention import Pruned, Pruning
from notify.store.operations import upkeep
from notify.store.operations.upkeep import Old


def prune(
    *,
    dry_run: Annotated[bool, Option("--dry-run", help="Only say how many rows are old enough to go.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Delete what is finished and old: emails, events that have none left, attempts and counts.

    How long they are kept is said by NOTIFY_KEEP_SENT_DAYS, NOTIFY_KEEP_DEAD_DAYS and, for the words of
    events, NOTIFY_KEEP_BODIES_DAYS. Emails that are due go first: it rests meanwhile. Stopped, it keeps
    what it has done; the next run goes on.
    """
    with connect() as deployment:
        kept = deployment.settings.kept
        with deployment.database.begin() as connection:
            old = upkeep.old(connection, kept)
        pruned = None if dry_run else _run(Pruning(deployment.database, kept), old)
    if as_json:
        print_json(pruned or old)
    elif pruned is None:
        console.print(f"{old.jobs:,} jobs, {old.events:,} events and {old.stats:,} rows of statistics would be deleted")
    elif pruned.elsewhere:
        console.print("nothing deleted: another run is at it")
    else:
        console.print(f"{pruned.jobs:,} jobs, {pruned.events:,} events and {pruned.stats:,} rows of statistics deleted")
        if pruned.emptied:
            console.print(f"{pruned.emptied:,} events have lost their words")


def _run(pruning: Pruning, old: Old) -> Pruned:
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress:
        jobs, events = (
            progress.add_task(name, total=total) for name, total in (("jobs", old.jobs), ("events", old.events))
        )
        for pruned in pruning.batches():
            progress.update(jobs, completed=pruned.jobs)
            progress.update(events, completed=pruned.events)
    return pruning.pruned
