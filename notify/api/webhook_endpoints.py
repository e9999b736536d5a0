"""Webhook endpoints, for operators: where outcomes are told, and what became of each call."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import Field
from sqlalchemy import Connection

from notify.api import examples
from notify.api.schemas import LARGEST_ID, Cursor, Limit, View
from notify.domain.similar_names import instead_of
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import CallStatus
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import Context, InContext
from notify.http.problems import BODY_RESPONSES, documented
from notify.intake.schema import Strict
from notify.store.directory.tokens import Scope
from notify.store.webhooks import by_hand, endpoints, listing
from notify.store.webhooks.endpoints import EndpointChanges, WebhookEndpoint
from notify.store.webhooks.listing import CallFilter, CallView
from notify.webhooks import actions
from notify.webhooks.schema import CallType, EndpointChangesIn, EndpointIn, EndpointName

router = APIRouter(
    prefix="/api/v1/webhooks",
    tags=["webhook endpoints"],
    dependencies=[auth.program_with(Scope.OPS)],
    responses=auth.REFUSALS,
)
NOT_NOW = documented(HTTPStatus.CONFLICT)
Name = Annotated[EndpointName, Path(openapi_examples={"crm": {"value": "crm"}})]
CallId = Annotated[int, Path(ge=1, le=LARGEST_ID)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointWithSecret(WebhookEndpoint):
    """A webhook endpoint, and its secret, which is shown only now."""

    secret: str = field(metadata={"description": "What calls are signed with: `whsec_…`, as Standard Webhooks has it."})


class RotationQuery(Strict):
    """How to rotate a secret."""

    keep_seconds: int = Field(
        default=actions.KEPT_SECONDS,
        ge=0,
        le=actions.MOST_KEPT_SECONDS,
        description="For how long calls are signed with the former secret too.",
    )


class CallQuery(Strict):
    """Which calls to list."""

    status: CallStatus | None = None
    type: CallType | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class CallPage(View):
    """Calls, newest first."""

    calls: list[CallView]
    next_cursor: int | None = Field(description="Where the next page begins. Null: no more.")


class CallsRetried(View):
    """Calls that are due now."""

    retried: int


@router.get("")
def list_webhook_endpoints(context: InContext) -> Sequence[WebhookEndpoint]:
    """List webhook endpoints. Secrets are not shown."""
    with context.database.begin() as connection:
        return endpoints.listed(connection)


@router.post("", status_code=HTTPStatus.CREATED, responses=BODY_RESPONSES | NOT_NOW)
def add_webhook_endpoint(
    given: Annotated[EndpointIn, Depends(JsonBody(EndpointIn, example=examples.WEBHOOK_ENDPOINT))], context: InContext
) -> EndpointWithSecret:
    """
    Add a webhook endpoint.

    It is told of outcomes from now on. The answer has its secret, which cannot be read again. 409: there is one with
    this name.
    """

    def add(connection: Connection) -> str:
        secret = actions.add(connection, given, keys=context.keys)
        if secret is None:
            raise HTTPException(HTTPStatus.CONFLICT, f"there is a webhook endpoint {given.name}")
        return secret

    return _with_secret(context, given.name, add)


@router.get("/{name}")
def get_webhook_endpoint(name: Name, context: InContext) -> WebhookEndpoint:
    """Show a webhook endpoint. Its secret is not shown."""
    with context.database.begin() as connection:
        return _known(connection, name)


@router.patch("/{name}", responses=BODY_RESPONSES)
def change_webhook_endpoint(
    name: Name,
    given: Annotated[EndpointChangesIn, Depends(JsonBody(EndpointChangesIn, example={"enabled": False}))],
    context: InContext,
) -> WebhookEndpoint:
    """
    Change, disable or enable a webhook endpoint.

    A new URL, or enabling it, ends its pause and forgets its failures.
    """
    changes = cast("EndpointChanges", given.model_dump(exclude_unset=True))
    with context.database.begin() as connection:
        endpoints.change(connection, name, changes)
        after = _known(connection, name)
    context.doorbell.ring(WEBHOOKS)
    return after


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove_webhook_endpoint(name: Name, context: InContext) -> None:
    """Remove a webhook endpoint. Calls that wait are not made."""
    with context.database.begin() as connection:
        _known(connection, name)
        endpoints.remove(connection, name)


@router.post("/{name}/rotate", responses=NOT_NOW)
def rotate_webhook_secret(
    name: Name, asked: Annotated[RotationQuery, Query()], context: InContext
) -> EndpointWithSecret:
    """
    Give a webhook endpoint a new secret.

    Calls are signed with both secrets for a day, or as long as `keep_seconds` says.
    """

    def rotate(connection: Connection) -> str:
        _known(connection, name)
        keep = timedelta(seconds=asked.keep_seconds)
        return actions.rotate(connection, name, keys=context.keys, keep=keep) or ""

    return _with_secret(context, name, rotate)


@router.post("/{name}/test", status_code=HTTPStatus.ACCEPTED)
def test_webhook_endpoint(name: Name, context: InContext) -> CallView:
    """
    Call a webhook endpoint with a message of type `endpoint.test`.

    A worker makes the call. The answer is in the call, which `GET` shows.
    """
    with context.database.begin() as connection:
        _known(connection, name)
        id_ = by_hand.test(connection, name)
        call = _call(connection, name, id_ or 0)
    context.doorbell.ring(WEBHOOKS)
    return call


@router.post("/{name}/retry")
def retry_dead_webhook_calls(name: Name, context: InContext) -> CallsRetried:
    """Make all dead calls of a webhook endpoint due now."""
    with context.database.begin() as connection:
        _known(connection, name)
    done = actions.retry_dead(context.database, name, ring=lambda: context.doorbell.ring(WEBHOOKS))
    return CallsRetried(retried=len(done))


@router.get("/{name}/calls")
def list_webhook_calls(name: Name, asked: Annotated[CallQuery, Query()], context: InContext) -> CallPage:
    """
    List the calls of a webhook endpoint, newest first.

    All filters must match. With the status `dead` it is the list of those that nobody will make again unless they are
    retried.
    """
    wanted = CallFilter(endpoint=name, status=asked.status, type=asked.type)
    with context.database.begin() as connection:
        _known(connection, name)
        found = list(listing.newest(connection, wanted, below=asked.cursor, limit=asked.limit))
    return CallPage(calls=found, next_cursor=found[-1].id if len(found) == asked.limit else None)


@router.get("/{name}/calls/{call_id}")
def get_webhook_call(name: Name, call_id: CallId, context: InContext) -> CallView:
    """Show a call: what it tells of, and what the endpoint answered."""
    with context.database.begin() as connection:
        return _call(connection, name, call_id)


@router.post("/{name}/calls/{call_id}/retry", responses=NOT_NOW)
def retry_webhook_call(name: Name, call_id: CallId, context: InContext) -> CallView:
    """
    Make a call due now.

    For calls that wait, or are dead or skipped. It keeps its `webhook-id`.
    """
    return _act(context, by_hand.retry, name, call_id)


@router.post("/{name}/calls/{call_id}/replay", status_code=HTTPStatus.CREATED, responses=NOT_NOW)
def replay_webhook_call(name: Name, call_id: CallId, context: InContext) -> CallView:
    """
    Make a call that has ended again, as a new call.

    The new call has a new `webhook-id`: under the old one the endpoint would take it for a repetition.
    """
    return _act(context, by_hand.replay, name, call_id)


def _with_secret(context: Context, name: str, act: Callable[[Connection], str]) -> EndpointWithSecret:
    try:
        with context.database.begin() as connection:
            secret = act(connection)
            return EndpointWithSecret(**asdict(_known(connection, name)), secret=secret)
    except actions.NoSecretKeys as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None


def _act(context: Context, act: Callable[[Connection, Sequence[int]], list[int]], name: str, call_id: int) -> CallView:
    with context.database.begin() as connection:
        before = _call(connection, name, call_id)
        done = act(connection, [call_id])
        if not done:
            raise HTTPException(HTTPStatus.CONFLICT, f"call {call_id} is {before.status}, or a worker is at it")
        after = _call(connection, name, done[0])
    context.doorbell.ring(WEBHOOKS)
    return after


def _known(connection: Connection, name: str) -> WebhookEndpoint:
    found = endpoints.find(connection, name)
    if found is None:
        known = [one.name for one in endpoints.listed(connection)]
        hint = instead_of(name, known) if known else "there is none"
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no webhook endpoint {name}; {hint}")
    return found


def _call(connection: Connection, name: str, call_id: int) -> CallView:
    found = listing.view(connection, call_id)
    if found is None or found.endpoint != name:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no call of {name} has the id {call_id}")
    return found
