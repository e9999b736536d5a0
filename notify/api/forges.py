"""Forges, for operators: the state of repositories, webhook deliveries, and identities."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import Field

from notify.api.schemas import Cursor, Instant, Limit, View
from notify.domain.outcomes import DeliveryStatus
from notify.domain.stages import INBOX
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import BODY_RESPONSES, documented
from notify.intake.schema import Name, Strict
from notify.store.directory.tokens import Scope
from notify.store.forges import deliveries, identities, repositories
from notify.store.forges.deliveries import DeliveryView
from notify.store.forges.identities import Identity, UnmappedLogin
from notify.store.forges.repositories import RepositoryView

MOST_IDENTITIES = 1_000

router = APIRouter(
    prefix="/api/v1/forges", tags=["forges"], dependencies=[auth.program_with(Scope.OPS)], responses=auth.REFUSALS
)
people = APIRouter(
    prefix="/api/v1/identities",
    tags=["directory"],
    dependencies=[auth.program_with(Scope.DIRECTORY_WRITE)],
    responses=auth.REFUSALS,
)
DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class ForgeQuery(Strict):
    """Which forge's to list; absent: every forge's."""

    forge: Name | None = None


class IdentityQuery(Strict):
    """Which identities to list."""

    forge: Name | None = None
    username: Name | None = None


class DeliveryQuery(Strict):
    """Which deliveries to list."""

    forge: Name | None = None
    status: DeliveryStatus | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class DeliveryPage(View):
    """Deliveries, newest first."""

    deliveries: list[DeliveryView]
    next_cursor: int | None = Field(description="Where the next page begins. Null: no more.")


class IdentityIn(Strict):
    """Whose login it is."""

    forge: Name = Field(description="Name of the forge in `NOTIFY_FORGES_FILE`.")
    login: Name
    username: Name
    verified_at: Instant | None = Field(default=None, description="When it was confirmed; absent: as it was.")


Identities = Annotated[
    list[IdentityIn],
    Depends(JsonBody(Annotated[list[IdentityIn], Field(max_length=MOST_IDENTITIES, fail_fast=True)])),
]


@router.get("")
def list_repositories(asked: Annotated[ForgeQuery, Query()], context: InContext) -> list[RepositoryView]:
    """List mirrored repositories: when each was read last, and why the last reading failed if it did."""
    with context.database.begin() as connection:
        return repositories.views(connection, asked.forge)


@router.get("/deliveries")
def list_deliveries(asked: Annotated[DeliveryQuery, Query()], context: InContext) -> DeliveryPage:
    """List webhook deliveries, newest first."""
    with context.database.begin() as connection:
        found = list(
            deliveries.listed(
                connection, forge=asked.forge, status=asked.status, before=asked.cursor, limit=asked.limit
            )
        )
    return DeliveryPage(deliveries=found, next_cursor=found[-1].id if len(found) == asked.limit else None)


@router.get("/deliveries/{delivery_id}")
def get_delivery(delivery_id: DeliveryId, context: InContext) -> DeliveryView:
    """Show what became of a webhook delivery. Its body is not shown; `notify forges deliveries show` shows it."""
    with context.database.begin() as connection:
        found = deliveries.view(connection, delivery_id)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no delivery has the id {delivery_id}")
    return found


@router.post("/deliveries/{delivery_id}/replay", responses=documented(HTTPStatus.CONFLICT))
def replay_delivery(delivery_id: DeliveryId, context: InContext) -> DeliveryView:
    """
    Work off a webhook delivery again.

    Safe to repeat: an event that was told already is not told again.
    """
    with context.database.begin() as connection:
        before = deliveries.view(connection, delivery_id)
        if before is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no delivery has the id {delivery_id}")
        if not before.bytes:
            raise HTTPException(HTTPStatus.CONFLICT, f"the body of delivery {delivery_id} was erased")
        if not deliveries.replay(connection, delivery_id):
            raise HTTPException(HTTPStatus.CONFLICT, f"delivery {delivery_id} is {before.status}")
        after = deliveries.view(connection, delivery_id)
    context.doorbell.ring(INBOX)
    return after or before


@people.get("")
def list_identities(asked: Annotated[IdentityQuery, Query()], context: InContext) -> list[Identity]:
    """List whose login is whose."""
    with context.database.begin() as connection:
        return identities.listed(connection, forge=asked.forge, username=asked.username)


@people.put("", status_code=HTTPStatus.NO_CONTENT, responses=BODY_RESPONSES)
def put_identities(given: Identities, context: InContext) -> None:
    """Store whose logins these are. Safe to repeat; a login has one person."""
    rows = [Identity(**one.model_dump(), source="rest") for one in given]
    with context.database.begin() as connection:
        identities.put(connection, rows)


@people.get("/unmapped")
def list_unmapped_logins(asked: Annotated[ForgeQuery, Query()], context: InContext) -> list[UnmappedLogin]:
    """List logins that belong to nobody we know, and how many events they missed."""
    with context.database.begin() as connection:
        return identities.unmapped(connection, forge=asked.forge)


@people.delete("/{forge}/{login}", status_code=HTTPStatus.NO_CONTENT)
def delete_identity(forge: Annotated[Name, Path()], login: Annotated[Name, Path()], context: InContext) -> None:
    """Forget whose login this is."""
    with context.database.begin() as connection:
        if not identities.remove(connection, forge, login):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"nobody is known to have the login {login} on {forge}")
