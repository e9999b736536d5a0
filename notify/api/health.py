"""Health and metrics endpoints. Open to everybody; they name no person and no email."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from notify.api.schemas import View
from notify.domain.waves import wave
from notify.http.context import InContext
from notify.store.database import Database
from notify.store.operations import gauges, migrate, relays, server
from notify.store.operations.relays import BreakerState

router = APIRouter(tags=["health"])


class Check(View):
    """One thing the service needs."""

    ok: bool
    detail: str


class Readiness(View):
    """Whether the service can do its work."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, Check]


@router.get("/livez")
async def livez() -> Check:
    """The process answers. Says nothing about what it needs."""
    return Check(ok=True, detail="alive")


@router.get("/readyz", responses={int(HTTPStatus.SERVICE_UNAVAILABLE): {"model": Readiness}})
def readyz(context: InContext, response: Response) -> Readiness:
    """Whether calls can be answered (503: they cannot), and whether emails flow (degraded: they do not)."""
    mail = Check(ok=context.no_mail is None, detail=context.no_mail or "configured")
    checks = {**_database(context.database), "mail": mail}
    if not all(checks[name].ok for name in ("database", "schema")):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="unavailable", checks=checks)
    checks |= {"emails": _emails(context.database), **_relays(context.database, context.relays)}
    return Readiness(status="ready" if all(one.ok for one in checks.values()) else "degraded", checks=checks)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """How the outbox stands, in the text format of Prometheus."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _database(database: Database) -> dict[str, Check]:
    try:
        with database.begin() as connection:
            revision, writable = migrate.current(connection), server.takes_writes(connection)
    except SQLAlchemyError as error:
        unknown = Check(ok=False, detail="not known while the database does not answer")
        return {"database": Check(ok=False, detail=f"no answer: {type(error).__name__}"), "schema": unknown}
    words = "answers" if writable else "takes no writes"
    return {"database": Check(ok=writable, detail=words), "schema": _schema(revision, migrate.head())}


def _schema(revision: str | None, head: str) -> Check:
    """A newer schema is fine: it was migrated for the code that comes next, beside which this code still runs."""
    if revision is None:
        return Check(ok=False, detail="never migrated: run notify migrate")
    if revision < head:
        return Check(ok=False, detail=f"at {revision}, but this code needs {head}: run notify migrate")
    return Check(ok=True, detail=f"at {revision}")


def _emails(database: Database) -> Check:
    with database.begin() as connection:
        found = wave(gauges.ended_of_late(connection))
    if found is None:
        return Check(ok=True, detail="most do not die of one reason")
    return Check(ok=False, detail=f"{found.in_words}: {found.listing}")


def _relays(database: Database, names: Sequence[str]) -> dict[str, Check]:
    """The first by its role, the others by their names; without their words, which may name a person."""
    if not names:
        return {}
    with database.begin() as connection:
        found = relays.breakers(connection)
    standings = {name: found.get(name, BreakerState()) for name in names}
    effect = "nothing is claimed" if all(one.is_open for one in standings.values()) else "others take the emails"
    first, *others = (_relay(one, effect) for one in standings.values())
    return {"relay": first, **{f"relay {name}": check for name, check in zip(names[1:], others, strict=True)}}


def _relay(standing: BreakerState, effect: str) -> Check:
    if standing.is_muted:
        return Check(ok=False, detail=f"muted by hand: {effect}")
    if standing.is_open:
        return Check(ok=False, detail=f"breaker open: {standing.reason}: {effect}")
    return Check(ok=True, detail="breaker closed")
