"""Probes and metrics. Open to everybody; they name no person and no email."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from notify.api.schemas import View
from notify.domain.waves import wave
from notify.http.context import InContext
from notify.store.database import Database
from notify.store.operations import gauges, migrate, relays, server
from notify.store.operations.relays import BreakerState

router = APIRouter(tags=["health"])


class Check(View):
    """One thing that the service needs."""

    ok: bool
    detail: str


class Readiness(View):
    """Whether the service can do its work."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, Check]


@router.get("/livez")
async def get_liveness() -> Check:
    """Whether the process is alive, whatever the state of its database and relays."""
    return Check(ok=True, detail="alive")


@router.get("/readyz", responses={int(HTTPStatus.SERVICE_UNAVAILABLE): {"model": Readiness}})
def get_readiness(context: InContext, response: Response) -> Readiness:
    """
    Whether the service can answer calls, and whether emails flow.

    503: calls cannot be answered. `degraded`: they can, but emails do not flow.
    """
    mail = Check(ok=context.no_mail is None, detail=context.no_mail or "configured")
    checks = {**_database(context.database), "mail": mail}
    if not all(checks[name].ok for name in ("database", "schema")):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="unavailable", checks=checks)
    with context.database.begin() as connection:
        checks |= {"emails": _emails(connection), **_relays(connection, context.relays)}
    return Readiness(status="ready" if all(one.ok for one in checks.values()) else "degraded", checks=checks)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(request: Request) -> Response:
    """Metrics in Prometheus's text format."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _database(database: Database) -> dict[str, Check]:
    try:
        with database.begin() as connection:
            revision, writable = migrate.current(connection), server.takes_writes(connection)
    except SQLAlchemyError as error:
        unknown = Check(ok=False, detail="unknown until the database answers")
        return {"database": Check(ok=False, detail=f"no answer: {type(error).__name__}"), "schema": unknown}
    words = "answers" if writable else "takes no writes"
    return {"database": Check(ok=writable, detail=words), "schema": _schema(revision, migrate.head())}


def _schema(revision: str | None, head: str) -> Check:
    """A newer schema is fine: this code still runs beside the next one while a deployment is under way."""
    if revision is None:
        return Check(ok=False, detail="never migrated: run notify migrate")
    if revision < head:
        return Check(ok=False, detail=f"at {revision}, but this code needs {head}: run notify migrate")
    return Check(ok=True, detail=f"at {revision}")


def _emails(connection: Connection) -> Check:
    found = wave(gauges.recently_ended(connection))
    if found is None:
        return Check(ok=True, detail="no common cause of failure")
    return Check(ok=False, detail=f"{found.in_words}: {found.listing}")


def _relays(connection: Connection, names: Sequence[str]) -> dict[str, Check]:
    """The first is called ``relay``. Replies of relays are left out, since they may name a person."""
    found = relays.breakers(connection)
    breakers = [found.get(name, BreakerState()) for name in names]
    effect = "nothing is claimed" if all(one.is_open for one in breakers) else "other relays take the emails"
    labels = ["relay", *(f"relay {name}" for name in names[1:])]
    return {label: _relay(one, effect) for label, one in zip(labels, breakers, strict=False)}


def _relay(breaker: BreakerState, effect: str) -> Check:
    if breaker.is_muted:
        return Check(ok=False, detail=f"muted by an operator: {effect}")
    if breaker.is_open:
        return Check(ok=False, detail=f"breaker open ({breaker.reason}): {effect}")
    return Check(ok=True, detail="breaker closed")
