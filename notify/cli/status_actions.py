"""``notify statuses retry`` and ``cancel``: select, ask, then act on a page at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, Option, confirm

from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, DryRun, Yes, console, print_json
from notify.domain.errors import NotifyError
from notify.domain.stages import STATUSES
from notify.domain.statuses import TargetStatus
from notify.store.statuses import by_hand, listing
from notify.store.statuses.listing import StatusFilter, StatusView

PAGE = 1_000

ByForge = Annotated[str | None, Option("--forge", metavar="NAME", help="Only statuses on this forge.")]
ByRepository = Annotated[
    str | None, Option("--repository", metavar="OWNER/NAME", help="Only of this repository, by its new or old name.")
]
BySha = Annotated[str | None, Option("--sha", metavar="SHA", help="Only on this commit; the full hash.")]
ByContext = Annotated[str | None, Option("--context", metavar="TEXT", help="Only of this context.")]
ByStatus = Annotated[
    TargetStatus | None,
    Option("--status", metavar="STATUS", help=f"Only with this status: {', '.join(TargetStatus)}."),
]
ByReason = Annotated[str | None, Option("--reason", metavar="TEXT", help="Only with this reason, such as forbidden.")]
Ids = Annotated[list[int] | None, Argument(metavar="ID", help="Ids, as `notify statuses list` shows them.")]


class NoSuchStatus(NotifyError):
    """There is no status with this id."""


class NoStatusesSelected(NotifyError):
    """Expected ids or filters to say which statuses; `notify statuses list` has the same filters."""


class StatusActionNotAllowed(NotifyError):
    """What became of the status does not allow this, or a worker is at it."""


class StatusAction(StrEnum):
    """What an operator does to statuses."""

    RETRY = "retry"
    CANCEL = "cancel"


ALLOWED = {
    StatusAction.RETRY: frozenset(TargetStatus) - {TargetStatus.APPLIED},
    StatusAction.CANCEL: frozenset({TargetStatus.PENDING}),
}
DONE = {StatusAction.RETRY: "retried", StatusAction.CANCEL: "cancelled"}
ACT: dict[StatusAction, Callable[[Connection, Sequence[int]], list[int]]] = {
    StatusAction.RETRY: by_hand.retry,
    StatusAction.CANCEL: by_hand.cancel,
}


def retry(
    ids: Ids = None,
    *,
    forge: ByForge = None,
    repository: ByRepository = None,
    sha: BySha = None,
    context: ByContext = None,
    status: ByStatus = None,
    reason: ByReason = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """
    Show statuses now that wait, or that are dead, skipped or cancelled. Their history is kept.

    Say which by ids or by filters.
    """
    wanted = StatusFilter(forge=forge, repository=repository, sha=sha, context=context, status=status, reason=reason)
    _run(StatusAction.RETRY, ids or (), wanted, dry_run=dry_run, yes=yes, as_json=as_json)


def cancel(
    ids: Ids = None,
    *,
    forge: ByForge = None,
    repository: ByRepository = None,
    sha: BySha = None,
    context: ByContext = None,
    reason: ByReason = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """
    Do not show statuses that wait. One that a worker is at may still be shown.

    Say which by ids or by filters. What is published later is shown again.
    """
    wanted = StatusFilter(forge=forge, repository=repository, sha=sha, context=context, reason=reason)
    _run(StatusAction.CANCEL, ids or (), wanted, dry_run=dry_run, yes=yes, as_json=as_json)


def _run(
    action: StatusAction, ids: Sequence[int], wanted: StatusFilter, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """
    Raises:
        NoStatusesSelected: That would be every status.
        NoSuchStatus: One of the ids is unknown; nothing is done.
        StatusActionNotAllowed: There is one id, and its status does not allow it.
    """
    if not ids and wanted == StatusFilter():
        raise NoStatusesSelected(action=action)
    with connect() as deployment:
        selected = _named(deployment, ids) if ids else _matching(deployment, wanted, among=ALLOWED[action])
        allowed = [one.id for one in selected if one.status in ALLOWED[action]]
        if dry_run:
            _print(action, allowed, matched=len(selected), as_json=as_json, done="would be ")
            return
        if len(allowed) > 1 and not yes:
            confirm(f"{action.capitalize()} {len(allowed):,} statuses?", abort=True, err=True)
        done = _act(deployment, action, allowed)
    if len(ids) == 1 and not done:
        raise StatusActionNotAllowed(id=ids[0], status=selected[0].status)
    _print(action, done, matched=len(selected), as_json=as_json)


def _named(deployment: Deployment, ids: Sequence[int]) -> list[StatusView]:
    with deployment.database.begin() as connection:
        found = listing.views(connection, ids)
    if unknown := sorted(set(ids) - found.keys()):
        raise NoSuchStatus(id=", ".join(map(str, unknown)))
    return [found[id_] for id_ in dict.fromkeys(ids)]


def _matching(deployment: Deployment, wanted: StatusFilter, *, among: frozenset[TargetStatus]) -> list[StatusView]:
    """Those that match, except for those whose status does not allow the action: history may have many of them."""
    found: list[StatusView] = []
    with deployment.database.begin() as connection:
        for status in among & {wanted.status} if wanted.status else among:
            found += _all(connection, replace(wanted, status=status))
    return sorted(found, key=lambda one: one.id)


def _all(connection: Connection, wanted: StatusFilter) -> Iterator[StatusView]:
    below = None
    while page := listing.newest(connection, wanted, below=below, limit=PAGE):
        yield from page
        below = page[-1].id


def _act(deployment: Deployment, action: StatusAction, ids: Sequence[int]) -> list[int]:
    """The ids of those for which it was still possible."""
    done: list[int] = []
    for first in range(0, len(ids), PAGE):
        with deployment.database.begin() as connection:
            done += ACT[action](connection, ids[first : first + PAGE])
        deployment.doorbell.ring(STATUSES)
    return done


def _print(action: StatusAction, ids: Sequence[int], *, matched: int, as_json: bool, done: str = "") -> None:
    if as_json:
        print_json({"matched": matched, "allowed" if done else DONE[action]: len(ids), "ids": ids})
    else:
        console.print(f"{done}{DONE[action]}: {len(ids):,} of {matched:,} matching statuses")
