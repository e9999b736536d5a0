"""``notify prune``: delete old, finished data now rather than at the next scheduled time."""

from notify.cli.connect import connect
from notify.cli.output import AsJson, DryRun, console, print_json, progress_bar
from notify.delivery.retention import Pruned, Pruning
from notify.store.operations import upkeep
from notify.store.operations.upkeep import OldRows


def prune(
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Delete old, finished data now: emails, attempts, events, webhook deliveries and calls, statuses, requests and
    statistics.

    NOTIFY_KEEP_SENT_DAYS, NOTIFY_KEEP_DEAD_DAYS, NOTIFY_KEEP_DELIVERIES_DAYS, NOTIFY_KEEP_STATUSES_DAYS,
    NOTIFY_KEEP_REQUESTS_DAYS and NOTIFY_KEEP_BODIES_DAYS (for the text of events) say how long data is kept. Pruning
    pauses while emails are due.
    You can stop it at any time; the next run continues.
    """
    with connect() as deployment:
        kept = deployment.settings.retention
        with deployment.database.begin() as connection:
            old = upkeep.old(connection, kept)
        pruned = None if dry_run else _run(Pruning(deployment.database, kept), old)
    if as_json:
        print_json(pruned or old)
    elif pruned is None:
        console.print(f"{_counted(old)} would be deleted")
    elif pruned.elsewhere:
        console.print("nothing deleted: another run is in progress")
    else:
        console.print(f"{_counted(pruned)} deleted")
        if pruned.emptied:
            console.print(f"the text of {pruned.emptied:,} events deleted")


def _counted(rows: OldRows | Pruned) -> str:
    counts = f"{rows.jobs:,} jobs, {rows.events:,} events, {rows.deliveries:,} webhook deliveries, {rows.calls:,} calls"
    return f"{counts}, {rows.statuses:,} statuses, {rows.requests:,} requests and {rows.stats:,} rows of statistics"


def _run(pruning: Pruning, old: OldRows) -> Pruned:
    with progress_bar() as progress:
        jobs, events = progress.add_task("jobs", total=old.jobs), progress.add_task("events", total=old.events)
        for pruned in pruning.batches():
            progress.update(jobs, completed=pruned.jobs)
            progress.update(events, completed=pruned.events)
    return pruning.pruned
