"""Webhooks of forges: checked, stored, and answered; what they say is read later, by a worker."""

from asyncio import Semaphore
from contextlib import nullcontext
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from notify.api.schemas import View
from notify.domain.stages import INBOX
from notify.forges.signatures import Signature, verify
from notify.http import bodies
from notify.http.context import Context, InContext
from notify.http.problems import documented
from notify.intake.schema import Name
from notify.sources.inbox import take_in
from notify.store.forges.deliveries import Receipt
from notify.work.forges import Forge

LARGEST_DELIVERY = 25 * 1024 * 1024
TAKEN = frozenset({"application/json", "application/x-www-form-urlencoded"})
REFUSED = {
    Signature.MISSING: (HTTPStatus.BAD_REQUEST, "the signature is missing: expected an HMAC-SHA256 of the body"),
    Signature.MALFORMED: (HTTPStatus.BAD_REQUEST, "the signature is malformed: expected 64 hexadecimal digits"),
    Signature.WRONG: (HTTPStatus.FORBIDDEN, "the signature is wrong: no configured secret fits"),
}
REFUSALS = documented(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=REFUSALS)
ForgeName = Annotated[Name, Path(description="Name of the forge in `NOTIFY_FORGES_FILE`.")]


class DeliveryAccepted(View):
    """The delivery is stored and will be worked off."""

    id: int
    duplicate: bool = Field(description="A delivery with this id was known already; nothing was changed.")


@router.post("/{forge}", status_code=HTTPStatus.ACCEPTED)
async def receive_webhook(
    forge: ForgeName, request: Request, response: Response, context: InContext
) -> DeliveryAccepted:
    """
    Take a webhook delivery of a forge.

    The body is signed with the webhook's secret: `X-Hub-Signature-256` (GitHub) or `X-Gitea-Signature`. 202 means that
    the delivery is stored; 200 that it was known already. At most 25 MiB.
    """
    known = context.forges.by_name.get(forge)
    if known is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such forge in NOTIFY_FORGES_FILE")
    if bodies.media_type(request.headers.get("content-type", "")) not in TAKEN:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
    # Whoever can reach the API can send a large body: its signature is known when all of it is here.
    turns: Semaphore = request.app.state.large_bodies
    async with turns if bodies.may_be_large(request) else nullcontext():
        body = await bodies.read(request, at_most=LARGEST_DELIVERY)
        receipt = await run_in_threadpool(_take_in, context, known, dict(request.headers), body)
    if receipt.duplicate:
        response.status_code = HTTPStatus.OK
    return DeliveryAccepted.model_validate(receipt)


def _take_in(context: Context, forge: Forge, headers: dict[str, str], body: bytes) -> Receipt:
    found = verify(forge.settings.kind, headers, body, forge.settings.webhook_secrets)
    if found in REFUSED:
        raise HTTPException(*REFUSED[found])
    with context.database.single() as connection:
        receipt = take_in(connection, forge, headers, body)
    context.doorbell.ring(INBOX)
    return receipt
