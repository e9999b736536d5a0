"""Kubernetes' and Prometheus' words. Open to everybody; they name no person and no letter."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from time import monotonic

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from notify.api.context import InContext
from notify.api.schemas import Check, Readiness
from notify.domain.jobs import Stage
from notify.domain.outcomes import Blame
from notify.store import gauges, migrate, relays
from notify.store.database import Database
from notify.store.gauges import Gauges
from notify.store.relays import MUTED, Standing

FRESH_SECONDS = 15
BY_STAGE = {
    "due": "Rows that may be claimed now.",
    "oldest_due_seconds": "How long the oldest of them has been due.",
    "in_flight": "Rows that a worker holds.",
    "dead_last_day": "Rows that ended dead within a day.",
}
HELP = {**BY_STAGE, "relay_open": "Whether nothing is claimed for the relay, for this reason."}
HELD_BY = (Blame.RELAY, Blame.CONFIGURATION, Blame.THROTTLE, MUTED)

router = APIRouter(tags=["health"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of the outbox at one instant; ``standing`` None where no relay is configured."""

    stages: Mapping[Stage, Gauges] = field(default_factory=dict)
    standing: Standing | None = None


class OutboxCollector(Collector):
    """
    The outbox's gauges for Prometheus, read at most every 15 s however many scrape.

    Args:
        relay: Whose breaker to show; None shows none.
        now: Seconds that never run backwards.
    """

    def __init__(self, database: Database, *, relay: str | None = None, now: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._relay = relay
        self._now = now
        self._lock = Lock()
        self._read_at = float("-inf")
        self._reading = Reading()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family for each number of a stage, labelled with the stage, and one for the relay's breaker."""
        reading = self._fresh()
        for name, help_ in BY_STAGE.items():
            family = GaugeMetricFamily(f"notify_{name}", help_, labels=["stage"])
            for stage, numbers in reading.stages.items():
                family.add_metric([stage], getattr(numbers, name))
            yield family
        if self._relay is not None and reading.standing is not None:
            yield _breaker(self._relay, reading.standing)

    def _fresh(self) -> Reading:
        with self._lock:
            if self._now() - self._read_at >= FRESH_SECONDS:
                self._reading = self._read()
                self._read_at = self._now()
            return self._reading

    def _read(self) -> Reading:
        with self._database.begin() as connection:
            standing = None if self._relay is None else relays.standing(connection, self._relay)
            return Reading(stages=gauges.read(connection), standing=standing)


def registry(database: Database, *, relay: str | None) -> CollectorRegistry:
    """What ``/metrics`` shows. The database is asked at the first scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OutboxCollector(database, relay=relay))
    return registry


@router.get("/livez")
def livez() -> Check:
    """The process answers. Says nothing about what it needs."""
    return Check(ok=True, detail="alive")


@router.get("/readyz", responses={int(HTTPStatus.SERVICE_UNAVAILABLE): {"model": Readiness}})
def readyz(context: InContext, response: Response) -> Readiness:
    """Whether calls can be answered (503: they cannot), and whether letters flow (degraded: they do not)."""
    checks = {**_database(context.database), "mail": _mail(context.no_mail)}
    if not all(checks[name].ok for name in ("database", "schema")):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="unavailable", checks=checks)
    if context.relay is not None:
        checks["relay"] = _relay(context.database, context.relay)
    return Readiness(status="ready" if all(one.ok for one in checks.values()) else "degraded", checks=checks)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """How the outbox stands, in the text format of Prometheus."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _database(database: Database) -> dict[str, Check]:
    try:
        with database.begin() as connection:
            revision = migrate.current(connection)
    except SQLAlchemyError as error:
        unknown = Check(ok=False, detail="not known while the database does not answer")
        return {"database": Check(ok=False, detail=f"no answer: {type(error).__name__}"), "schema": unknown}
    return {"database": Check(ok=True, detail="answers"), "schema": _schema(revision, migrate.head())}


def _schema(revision: str | None, head: str) -> Check:
    """A newer schema is fine: it was migrated for the code that comes next, beside which this code still runs."""
    if revision is None:
        return Check(ok=False, detail="never migrated: run notify migrate")
    if revision < head:
        return Check(ok=False, detail=f"at {revision}, but this code needs {head}: run notify migrate")
    return Check(ok=True, detail=f"at {revision}")


def _mail(problem: str | None) -> Check:
    return Check(ok=problem is None, detail=problem or "configured")


def _relay(database: Database, relay: str) -> Check:
    """Without the relay's words, which may name a person."""
    with database.begin() as connection:
        standing = relays.standing(connection, relay)
    if standing.is_muted:
        return Check(ok=False, detail="muted by hand: nothing is claimed")
    if standing.is_open:
        return Check(ok=False, detail=f"breaker open: {standing.reason}: nothing is claimed")
    return Check(ok=True, detail="breaker closed")


def _breaker(relay: str, standing: Standing) -> GaugeMetricFamily:
    """A series for every reason there can be, so that none appears or vanishes while the breaker moves."""
    family = GaugeMetricFamily("notify_relay_open", HELP["relay_open"], labels=["relay", "reason"])
    for reason in HELD_BY:
        family.add_metric([relay, reason], float(reason in standing.held_by))
    return family
