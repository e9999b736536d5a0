"""``notify statuses``: list and show what is wanted on commits; publish, retry or cancel it."""

from dataclasses import asdict
from typing import Annotated

from typer import Argument, Option, Typer

from notify.cli import publish_status, status_actions
from notify.cli.connect import connect
from notify.cli.output import (
    AsJson,
    Columns,
    console,
    print_facts,
    print_json,
    print_records,
    print_wrapped,
    relative,
    when,
)
from notify.cli.status_actions import ByContext, ByForge, ByReason, ByRepository, BySha, ByStatus, NoSuchStatus
from notify.store.statuses import listing
from notify.store.statuses.listing import AttemptView, StatusFilter, StatusView

SHORT_SHA = 10


def _status(one: StatusView) -> str:
    return f"{one.status}: {one.outcome_reason}" if one.outcome_reason else one.status


COLUMNS: Columns = {
    "id": "id",
    "status": _status,
    "repository": "repository",
    "commit": lambda one: one.sha[:SHORT_SHA],
    "context": "context",
    "wanted": "state",
    "shown": "applied_state",
    "when": lambda one: when(one.due_at, one.finished_at),
}
"""Of a status that waits, when its next attempt is; of one that has ended, since when."""

app = Typer(
    help="List statuses wanted on commits of forges; publish, retry or cancel them.",
    no_args_is_help=True,
)
app.command()(publish_status.publish)
app.command()(status_actions.retry)
app.command()(status_actions.cancel)


@app.command("list")
def list_(
    *,
    forge: ByForge = None,
    repository: ByRepository = None,
    sha: BySha = None,
    context: ByContext = None,
    status: ByStatus = None,
    reason: ByReason = None,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one, for the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="How many to list at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """
    List statuses, newest first: what is wanted on each commit, and what its forge shows.

    A dead status is not shown, and says why; a skipped one has no such commit.
    """
    wanted = StatusFilter(forge=forge, repository=repository, sha=sha, context=context, status=status, reason=reason)
    with connect() as deployment, deployment.database.begin() as connection:
        found = listing.newest(connection, wanted, below=below, limit=limit)
    print_records(found, COLUMNS, empty="no status matches", as_json=as_json)


@app.command()
def show(
    id_: Annotated[int, Argument(metavar="ID", help="The status's id, as `notify statuses list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one status: what is wanted, what its forge shows, and the attempts that failed."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = listing.view(connection, id_)
        attempts = listing.attempts_of(connection, id_)
        output = listing.output_of(connection, id_)
    if found is None:
        raise NoSuchStatus(id=id_)
    if as_json:
        print_json({**asdict(found), "output": output, "failed_attempts": attempts})
        return
    print_facts(asdict(found))
    if output:
        print_facts({name: output[name] for name in ("title", "summary", "text")})
        console.print(f"{len(output['annotations'])} annotations")
    if attempts:
        console.print("\nattempts that failed:")
    for attempt in attempts:
        _print_attempt(attempt)


def _print_attempt(attempt: AttemptView) -> None:
    took = None if attempt.took_ms is None else f"{attempt.took_ms} ms"
    facts = (relative(attempt.at), attempt.outcome, took)
    print_wrapped(str(attempt.attempt), ", ".join(fact for fact in facts if fact))
    answer = " ".join(str(part) for part in (attempt.request, attempt.code, attempt.text) if part)
    print_wrapped("", answer)
