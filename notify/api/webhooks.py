"""Takes webhooks of forges: checks the signature, stores and answers. A worker reads the contents later."""

from asyncio import Semaphore
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from notify.api.arrivals import Arrivals
from notify.api.schemas import View
from notify.forges.signatures import Signature, verify
from notify.http import bodies, context
from notify.http.problems import documented
from notify.intake.schema import Name
from notify.sources.inbox import new_delivery
from notify.store.forges.deliveries import NewDelivery, Receipt
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

ForgeName = Annotated[Name, Path(description="Name of the forge in `NOTIFY_FORGES_FILE`.")]


class DeliveryAccepted(View):
    """The delivery is stored and will be processed."""

    id: int
    duplicate: bool = Field(description="A delivery with this id was known already; nothing was changed.")


class AsItComes(APIRoute):
    """
    A route whose operation gets the request as it is; FastAPI only documents its parameters and its answer.

    Decided: solving dependencies and serialising the answer took a seventh of the time of an accepted delivery.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            answer: Response = await self.endpoint(request.path_params["forge"], request)
            return answer

        return handle


router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=REFUSALS, route_class=AsItComes)


@router.post("/{forge}", status_code=HTTPStatus.ACCEPTED, response_model=DeliveryAccepted)
async def receive_webhook(forge: ForgeName, request: Request) -> Response:
    """
    Take a webhook delivery of a forge.

    The body is signed with the webhook's secret: `X-Hub-Signature-256` (GitHub) or `X-Gitea-Signature`. 202 means that
    the delivery is stored; 200 that it was known already. At most 25 MiB.
    """
    known = context.of(request).forges.by_name.get(forge)
    if known is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such forge in NOTIFY_FORGES_FILE")
    headers = dict(request.headers)
    if bodies.media_type(headers.get("content-type", "")) not in TAKEN:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
    receipt = await _take_in(request, known, headers)
    return Response(
        DeliveryAccepted(id=receipt.id, duplicate=receipt.duplicate).model_dump_json(),
        status_code=HTTPStatus.OK if receipt.duplicate else HTTPStatus.ACCEPTED,
        media_type="application/json",
    )


async def _take_in(request: Request, forge: Forge, headers: dict[str, str]) -> Receipt:
    arrivals: Arrivals = request.app.state.arrivals
    if not bodies.may_be_large(request):
        body = await bodies.read(request, at_most=bodies.LARGE)
        return await arrivals.store(_verified(forge, headers, body))
    # Anyone who can reach the API can send a large body: the signature can be checked only at its end.
    turns: Semaphore = request.app.state.large_bodies
    async with turns:
        body = await bodies.read(request, at_most=LARGEST_DELIVERY)
        delivery = await run_in_threadpool(_verified, forge, headers, body)
        (receipt,) = await run_in_threadpool(arrivals.store_now, [delivery])
        return receipt


def _verified(forge: Forge, headers: dict[str, str], body: bytes) -> NewDelivery:
    found = verify(forge.settings.kind, headers, body, forge.settings.webhook_secrets)
    if found in REFUSED:
        raise HTTPException(*REFUSED[found])
    return new_delivery(forge, headers, body)
