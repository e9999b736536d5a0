"""Metrics for Prometheus. They are read from tables: every API process serves the same, and none is lost with one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import Lock
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from notify.domain.heads import RequestState
from notify.domain.measures import BUCKETS, Measure, Role, verdict_label
from notify.domain.outcomes import AMBIGUOUS, LAPSE, POISON, Blame, DeliveryStatus, OutcomeName, Phase
from notify.domain.rates import Bucket
from notify.domain.statuses import TargetStatus
from notify.domain.waves import wave
from notify.domain.webhooks import GONE, CallStatus
from notify.store.database import Database
from notify.store.forges import deliveries, repositories
from notify.store.heads import listing as heads
from notify.store.operations import gauges, process_totals, rates, relays, server, stats
from notify.store.operations.process_totals import Total
from notify.store.operations.relays import MUTED, BreakerState
from notify.store.statuses import listing
from notify.store.webhooks import endpoints
from notify.store.webhooks import listing as calls
from notify.wiring import STAGE_NAMES

FRESH_SECONDS = 15
NOTHING = Total(0, 0.0)
Series = Mapping[str, float] | Mapping[tuple[str, str], float]
OF_STAGES = {
    "oldest_due_seconds": "How long the oldest due row has been due.",
    "due": "Rows that are due, counted up to 100,000.",
    "scheduled": "Rows that are due later, counted up to 100,000.",
    "in_flight": "Rows that are leased by a worker.",
    "expired_leases": "Rows whose lease ran out and that have not been claimed since.",
}
TOTAL_OF = {LAPSE: "lapses_total", AMBIGUOUS: "ambiguous_total"}
LATENCIES = {
    Measure.TO_FAN_OUT: "event_to_fan_out_seconds",
    Measure.TO_FIRST_ATTEMPT: "event_to_first_attempt_seconds",
    Measure.TO_SENT: "event_to_sent_seconds",
}
TO_VERDICT = "push_to_verdict_seconds"
HELP = {
    **OF_STAGES,
    "dead_last_day": "Work items that died in the last 24 hours, by reason.",
    "wave_of_deaths": "Emails that died of this reason in the last minutes if most did, else 0.",
    "relay_open": "Whether the relay's breaker is open or muted, by reason.",
    "rate_owed_seconds": "How far the rate limit is used up, in seconds. From two on, emails wait.",
    "rate_queued_seconds": "Seconds until the last email that waits for the rate limit is due.",
    "sync_age_seconds": "Since the least recent complete reading of a forge's repositories, or of their list.",
    "deliveries": "Webhook deliveries among the newest 10,000, by status.",
    "statuses": "Statuses among the newest 10,000, by what became of them.",
    "statuses_replaced": "Versions of these statuses that were replaced before they were shown.",
    "webhook_calls": "Webhook calls among the newest 10,000, by status; retrying: they wait after a failure.",
    "webhook_failing": "Whether calls to the endpoint wait after failures, or it is disabled because it is gone.",
    "queue_last_green_age_seconds": "Since a queue's last green head was found; 0 while it is the newest head.",
    "requests": "Requests of queues among the newest 10,000, by state; forced: could not be validated.",
    TO_VERDICT: "From when a queue's head was first heard of to its verdict; forced: could not be validated.",
    "undeliverable_addresses": "People whose current address a relay refused for good.",
    "outcomes_total": "Attempts, by outcome.",
    "lapses_total": "Leases of emails that ran out with no outcome recorded.",
    "ambiguous_total": "Attempts after which it is unknown whether the relay accepted the email.",
    "doorbells_total": "Doorbells rung, by whether the broker accepted them.",
    "sweeps_total": "Sweeps: looks for due rows without a doorbell.",
    "sweeps_that_found_work_total": "Sweeps that found due rows.",
    "event_to_fan_out_seconds": "From the receipt of an event to the end of its fan-out.",
    "event_to_first_attempt_seconds": "From the receipt of an event to the first attempt at an email.",
    "event_to_sent_seconds": "From the receipt of an event until the relay accepted an email.",
    "smtp_seconds": "How long the relay took to reply, by phase.",
    "processes": "Processes that have written their counts in the last minute.",
    "live_tuples": "Live rows, as estimated by PostgreSQL.",
    "dead_tuples": "Dead rows that are not vacuumed yet, as estimated by PostgreSQL.",
    "oldest_snapshot_seconds": "Age of the oldest transaction that keeps dead rows from being vacuumed.",
    "reading_seconds": "How long it took to read these metrics from the tables.",
}
VERDICTS = (RequestState.SUCCEEDED.value, RequestState.FAILED.value, heads.FORCED)
OPEN_REASONS = (Blame.RELAY, Blame.CONFIGURATION, Blame.THROTTLE, MUTED)
CALL_STATUSES = (*(status.value for status in CallStatus), calls.RETRYING)
RINGS = {Measure.DOORBELL_SENT: "sent", Measure.DOORBELL_FAILED: "failed"}


class OutboxCollector(Collector):
    """
    Every family of ``HELP``, read at most once in 15 s, however many scrape.

    A series exists for every possible label value, so that none appears or disappears; only event types are added as
    they are used, forges once they are read, and webhook endpoints as they are added.

    Args:
        relays: Configured relays, whose breakers and rates are shown before they exist in the tables.
        queues: Configured queues, likewise; no other is shown.
        forges: Configured forges; no other is shown.
        now: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        database: Database,
        *,
        relays: Sequence[str] = (),
        queues: Sequence[str] = (),
        forges: Sequence[str] = (),
        stages: Sequence[str] = STAGE_NAMES,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._stages = stages
        self._relays = tuple(relays)
        self._queues = tuple(queues)
        self._forges = tuple(forges)
        self._now = now
        self._lock = Lock()
        self._read_at = float("-inf")
        self._families: Sequence[Metric] = ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if self._now() - self._read_at >= FRESH_SECONDS:
                began = monotonic()
                with self._database.begin() as connection:
                    families = list(self._read(connection))
                self._families = [*families, _gauge("reading_seconds", monotonic() - began)]
                self._read_at = self._now()
            return self._families

    def _read(self, connection: Connection) -> Iterator[Metric]:
        yield from self._of_stages(connection)
        yield from self._of_relays(connection)
        yield from self._of_queues(connection)
        yield from _outcomes(stats.totals(connection))
        yield from self._of_processes(process_totals.read(connection))
        alive = process_totals.alive(connection)
        yield _gauge("processes", {role.value: alive.get(role, 0) for role in Role}, "role")
        tables = server.hot_tables(connection)
        yield _gauge("live_tuples", {one.name: one.live for one in tables}, "table")
        yield _gauge("dead_tuples", {one.name: one.dead for one in tables}, "table")
        yield _gauge("oldest_snapshot_seconds", server.oldest_snapshot_seconds(connection))
        yield _gauge("sync_age_seconds", repositories.sync_ages(connection, self._forges), "forge")
        kept = deliveries.counted(connection)
        yield _gauge("deliveries", {status.value: kept.get(status, 0) for status in DeliveryStatus}, "status")
        shown = listing.counted(connection)
        yield _gauge("statuses", {status.value: shown.by_status.get(status, 0) for status in TargetStatus}, "status")
        yield _gauge("statuses_replaced", shown.replaced)
        yield from _webhooks(connection)
        yield _gauge("undeliverable_addresses", gauges.undeliverable_addresses(connection))

    def _of_stages(self, connection: Connection) -> Iterator[Metric]:
        stages = gauges.read(connection, self._stages)
        for name in OF_STAGES:
            yield _gauge(name, {stage: getattr(found, name) for stage, found in stages.items()}, "stage")
        dead = {(stage, POISON): 0.0 for stage in stages} | {
            (stage, reason): count for stage, found in stages.items() for reason, count in found.dead_last_day.items()
        }
        yield _gauge("dead_last_day", dead, "stage", "reason")
        found = wave(gauges.recently_ended(connection))
        deaths = {found.deaths.reason: found.deaths.count} if found else {}
        yield _gauge("wave_of_deaths", {POISON: 0, **deaths}, "reason")

    def _of_relays(self, connection: Connection) -> Iterator[Metric]:
        breakers = {**dict.fromkeys(self._relays, BreakerState()), **relays.breakers(connection)}
        is_open = {
            (name, reason): float(reason in breaker.blocked_by)
            for name, breaker in breakers.items()
            for reason in OPEN_REASONS
        }
        yield _gauge("relay_open", is_open, "relay", "reason")
        buckets = {**{rates.of_relay(name): Bucket() for name in self._relays}, **rates.buckets(connection)}
        yield _gauge("rate_owed_seconds", {name: one.owed for name, one in buckets.items()}, "bucket")
        yield _gauge("rate_queued_seconds", {name: one.queued for name, one in buckets.items()}, "bucket")

    def _of_queues(self, connection: Connection) -> Iterator[Metric]:
        ages = heads.last_green_ages(connection, self._queues) if self._queues else {}
        yield _gauge("queue_last_green_age_seconds", ages, "queue")
        found = heads.counted(connection, self._queues) if self._queues else {}
        states = (*(state.value for state in RequestState), heads.FORCED)
        counts = {(queue, state): found.get((queue, state), 0) for queue in self._queues for state in states}
        yield _gauge("requests", counts, "queue", "state")

    def _of_processes(self, totals: Mapping[str, Mapping[str, Total]]) -> Iterator[Metric]:
        def count(measure: Measure, stage: str) -> int:
            return totals.get(measure, {}).get(stage, NOTHING).count

        rings = {(stage, result): count(ring, stage) for stage in self._stages for ring, result in RINGS.items()}
        yield _counter("doorbells_total", rings, "stage", "result")
        yield _counter("sweeps_total", {one: count(Measure.SWEEP, one) for one in self._stages}, "stage")
        found = {one: count(Measure.SWEEP_FOUND, one) for one in self._stages}
        yield _counter("sweeps_that_found_work_total", found, "stage")
        for measure, name in LATENCIES.items():
            yield _histogram(name, {(): totals.get(measure, {})})
        yield _histogram(TO_VERDICT, self._verdicts(totals.get(Measure.TO_VERDICT, {})), "queue", "outcome")
        yield _smtp(totals.get(Measure.SMTP, {}))

    def _verdicts(self, totals: Mapping[str, Total]) -> dict[tuple[str, str], dict[str, Total]]:
        return {
            (queue, outcome): {
                bound: totals.get(verdict_label(bound, queue=queue, outcome=outcome), NOTHING) for bound in BUCKETS
            }
            for queue in self._queues
            for outcome in VERDICTS
        }


def registry(
    database: Database,
    *,
    relays: Sequence[str],
    queues: Sequence[str] = (),
    forges: Sequence[str] = (),
    stages: Sequence[str] = STAGE_NAMES,
) -> CollectorRegistry:
    """What ``/metrics`` serves. The first scrape queries the database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OutboxCollector(database, relays=relays, queues=queues, forges=forges, stages=stages))
    return registry


def _webhooks(connection: Connection) -> Iterator[Metric]:
    known = endpoints.listed(connection)
    counts = calls.counted(connection) if known else {}
    series = {(one.name, status): counts.get((one.name, status), 0) for one in known for status in CALL_STATUSES}
    yield _gauge("webhook_calls", series, "endpoint", "status")
    failing = {
        one.name: one.failing is not None or one.disabled_because == GONE or series[one.name, calls.RETRYING] > 0
        for one in known
    }
    yield _gauge("webhook_failing", {name: float(it) for name, it in failing.items()}, "endpoint")


def _gauge(name: str, series: Series | float, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"notify_{name}", HELP[name], labels=labels)
    return _with_series(family, series if isinstance(series, Mapping) else {(): series})


def _counter(name: str, series: Series, *labels: str) -> Metric:
    return _with_series(CounterMetricFamily(f"notify_{name}", HELP[name], labels=labels), series)


def _with_series(family: GaugeMetricFamily | CounterMetricFamily, series: Mapping[Any, float]) -> Metric:
    for values, value in series.items():
        family.add_metric(values if isinstance(values, tuple) else (values,), value)
    return family


def _outcomes(outcomes: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    types = sorted({event_type for event_type, _ in outcomes})
    attempts = {(kind, one.value): outcomes.get((kind, one), 0) for kind in types for one in OutcomeName}
    yield _counter("outcomes_total", attempts, "event_type", "outcome")
    for outcome, name in TOTAL_OF.items():
        yield _counter(name, {one: outcomes.get((one, outcome), 0) for one in types}, "event_type")


def _histogram(name: str, series: Mapping[Any, Mapping[str, Total]], *labels: str) -> Metric:
    """Buckets are cumulative, as Prometheus requires."""
    family = HistogramMetricFamily(f"notify_{name}", HELP[name], labels=labels)
    for values, totals in series.items():
        counts = accumulate(totals.get(bound, NOTHING).count for bound in BUCKETS)
        seconds = sum(one.seconds for one in totals.values())
        family.add_metric(values, list(zip(BUCKETS, counts, strict=True)), seconds)
    return family


def _smtp(totals: Mapping[str, Total]) -> Metric:
    family = SummaryMetricFamily("notify_smtp_seconds", HELP["smtp_seconds"], labels=["phase"])
    for phase in Phase:
        if phase not in {Phase.RECHECK, Phase.RENDER}:
            total = totals.get(phase, NOTHING)
            family.add_metric([phase], total.count, total.seconds)
    return family
