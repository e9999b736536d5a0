"""``notify webhooks calls``, ``retry`` and ``replay``: what became of calls, and make them again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, Option, confirm

from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, Columns, Yes, console, print_json, print_records, when
from notify.domain.errors import NotifyError
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import TEST, TYPES, CallStatus
from notify.store.webhooks import by_hand, endpoints, listing
from notify.store.webhooks.listing import CallFilter, CallView
from notify.webhooks import actions


def state_of_call(one: CallView) -> str:
    """Its status, why, and what the endpoint answered."""
    status = f"{one.status}: {one.outcome_reason}" if one.outcome_reason else str(one.status)
    return f"{status} ({one.last_error})" if one.last_error else status


COLUMNS: Columns = {
    "id": "id",
    "endpoint": "endpoint",
    "type": "type",
    "status": state_of_call,
    "attempts": "attempts",
    "when": lambda one: when(one.due_at, one.finished_at),
}
"""Of a call that waits, when its next attempt is; of one that has ended, since when."""

_IDS = Argument(metavar="ID", help="Ids, as `notify webhooks calls` shows them.")


class NoSuchWebhookCall(NotifyError):
    """There is no webhook call with this id."""


class NoCallsSelected(NotifyError):
    """Expected ids, or --endpoint for all its dead calls."""


class CallActionNotAllowed(NotifyError):
    """What became of the call does not allow this, or a worker is at it."""


class NoSuchWebhookEndpoint(NotifyError):
    """There is no webhook endpoint with this name."""


def list_(
    endpoint: Annotated[
        str | None, Argument(metavar="NAME", help="Only calls to this endpoint, as `notify webhooks list` shows it.")
    ] = None,
    *,
    status: Annotated[
        CallStatus | None, Option(metavar="STATUS", help=f"Only with this status: {', '.join(CallStatus)}.")
    ] = None,
    type_: Annotated[
        str | None, Option("--type", metavar="TYPE", help=f"Only of this type: {', '.join((*TYPES, TEST))}.")
    ] = None,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one, for the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=1000, help="How many to list at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List webhook calls, newest first. With --json: what each tells of, its webhook-id and its last answer."""
    wanted = CallFilter(endpoint=endpoint, status=status, type=type_)
    with connect() as deployment, deployment.database.begin() as connection:
        found = listing.newest(connection, wanted, below=below, limit=limit)
    print_records(found, COLUMNS, empty="no call matches", as_json=as_json)


def retry(
    ids: Annotated[list[int] | None, _IDS] = None,
    *,
    endpoint: Annotated[str | None, Option(metavar="NAME", help="All dead calls of this endpoint.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """
    Make calls now that wait, or that are dead or skipped. They keep their webhook-ids.

    Say which by ids, or all dead ones of an endpoint by --endpoint.
    """
    if bool(ids) == bool(endpoint):
        raise NoCallsSelected
    with connect() as deployment:
        done = _act(deployment, by_hand.retry, ids) if ids else _retry_dead(deployment, endpoint or "", yes=yes)
    _print("retried", done, as_json=as_json)


def replay(ids: Annotated[list[int], _IDS], *, as_json: AsJson = False) -> None:
    """
    Make calls that have ended again, as new calls.

    Each gets a new webhook-id: under the old one the endpoint would take it for a repetition.
    """
    with connect() as deployment:
        done = _act(deployment, by_hand.replay, ids)
    _print("replayed", done, as_json=as_json)


def _act(
    deployment: Deployment, act: Callable[[Connection, Sequence[int]], list[int]], ids: Sequence[int]
) -> list[int]:
    """
    Raises:
        NoSuchWebhookCall: One of the ids is unknown; nothing is done.
        CallActionNotAllowed: There is one id, and its status does not allow it.
    """
    with deployment.database.begin() as connection:
        found = listing.views(connection, ids)
        if unknown := sorted(set(ids) - found.keys()):
            raise NoSuchWebhookCall(id=", ".join(map(str, unknown)))
        done = act(connection, ids)
        if len(ids) == 1 and not done:
            raise CallActionNotAllowed(id=ids[0], status=found[ids[0]].status)
    deployment.doorbell.ring(WEBHOOKS)
    return done


def _retry_dead(deployment: Deployment, endpoint: str, *, yes: bool) -> list[int]:
    with deployment.database.begin() as connection:
        if endpoints.find(connection, endpoint) is None:
            raise NoSuchWebhookEndpoint(name=endpoint)
    if not yes:
        confirm(f"Retry all dead calls of {endpoint}?", abort=True, err=True)
    return actions.retry_dead(deployment.database, endpoint, ring=partial(deployment.doorbell.ring, WEBHOOKS))


def _print(done: str, ids: Sequence[int], *, as_json: bool) -> None:
    if as_json:
        print_json({done: len(ids), "ids": ids})
    else:
        console.print(f"{done}: {len(ids):,} calls")
