"""What Prometheus reads: all of it from tables, so that any process tells it and none forgets when it ends."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from time import monotonic

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from notify.domain.measures import BUCKETS, Measure, Role
from notify.domain.outcomes import AMBIGUOUS, LAPSE, POISON, Blame, Phase, Verdict
from notify.domain.rates import Bucket
from notify.domain.waves import Wave, wave
from notify.store.database import Database
from notify.store.operations import gauges, process_totals, rates, server, stats
from notify.store.operations import relays as breakers
from notify.store.operations.gauges import Gauges
from notify.store.operations.process_totals import Total
from notify.store.operations.relays import MUTED, BreakerState
from notify.store.operations.server import HotTable
from notify.wiring import STAGE_NAMES

FRESH_SECONDS = 15
NOTHING = Total(0, 0.0)
Sample = tuple[Sequence[str], float]
OF_STAGES = {
    "oldest_due_seconds": "How long the row that is due longest has been due.",
    "due": "Rows that may be claimed now, counted up to 100,000.",
    "scheduled": "Rows that wait for their time, counted up to 100,000.",
    "in_flight": "Rows that a worker holds.",
    "expired_leases": "Rows whose worker has vanished and that nobody has taken since.",
}
TOTAL_OF = {LAPSE: "lapses_total", AMBIGUOUS: "ambiguous_total"}
LATENCIES = {
    Measure.TO_FAN_OUT: "event_to_fan_out_seconds",
    Measure.TO_FIRST_ATTEMPT: "event_to_first_attempt_seconds",
    Measure.TO_SENT: "event_to_sent_seconds",
}
HELP = {
    **OF_STAGES,
    "dead_last_day": "Work items that died within a day, by reason.",
    "wave_of_deaths": "Emails of the last minutes that died of this reason, if most did; else 0.",
    "relay_open": "Whether nothing is claimed for the relay, for this reason.",
    "rate_owed_seconds": "Seconds of this rate that are used up; from two on no email goes before its time.",
    "rate_queued_seconds": "Seconds until the last email has its turn that was put off for this rate.",
    "undeliverable_addresses": "People whose present address a relay refused for good.",
    "outcomes_total": "Attempts by what became of them.",
    "lapses_total": "Emails whose worker vanished.",
    "ambiguous_total": "Attempts after which nobody knows whether the relay took the email.",
    "doorbells_total": "Doorbells rung, by whether the broker took them.",
    "sweeps_total": "Looks at the table by workers that nobody had rung for.",
    "sweeps_that_found_work_total": "Those of them that found something due.",
    "event_to_fan_out_seconds": "From the receipt of an event to the end of its fan-out.",
    "event_to_first_attempt_seconds": "From the receipt of an event to the first attempt at an email.",
    "event_to_sent_seconds": "From the receipt of an event to the relay's yes to an email.",
    "smtp_seconds": "How long the relay took to answer, by phase.",
    "processes": "Processes that have written their counts within a minute.",
    "live_tuples": "Rows that live, as PostgreSQL estimates them.",
    "dead_tuples": "Rows that are dead and not cleaned up yet, as PostgreSQL estimates them.",
    "oldest_snapshot_seconds": "Age of the oldest transaction that keeps dead rows from being cleaned up.",
    "reading_seconds": "How long it took to read all this from the tables.",
}
HELD_BY = (Blame.RELAY, Blame.CONFIGURATION, Blame.THROTTLE, MUTED)
RINGS = {Measure.DOORBELL_SENT: "sent", Measure.DOORBELL_FAILED: "failed"}


class OutboxCollector(Collector):
    """
    The outbox for Prometheus, read at most every 15 s however many scrape.

    Args:
        relays: Whose breakers to show even if they never failed.
        stages: Those to show, each with a series for every label it can have.
        now: Seconds that never run backwards.
    """

    def __init__(
        self,
        database: Database,
        *,
        relays: Sequence[str] = (),
        stages: Sequence[str] = STAGE_NAMES,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._stages = stages
        self._relays = tuple(relays)
        self._now = now
        self._lock = Lock()
        self._read_at = float("-inf")
        self._families: Sequence[Metric] = ()

    def collect(self) -> Iterable[Metric]:
        """
        Every family of ``HELP``.

        A series for every label value there can be, so that none appears or vanishes as things change.
        """
        with self._lock:
            if self._now() - self._read_at >= FRESH_SECONDS:
                self._families = self._read()
                self._read_at = self._now()
            return self._families

    def _read(self) -> Sequence[Metric]:
        began = monotonic()
        known = dict.fromkeys(self._relays, BreakerState())
        unused = {rates.of_relay(name): Bucket() for name in self._relays}
        with self._database.begin() as connection:
            found = [
                *_stages(gauges.read(connection, self._stages)),
                _wave(wave(gauges.ended_of_late(connection))),
                _breakers({**known, **breakers.breakers(connection)}),
                *_buckets({**unused, **rates.buckets(connection)}),
                *_outcomes(stats.totals(connection)),
                *_processes(process_totals.read(connection), stages=self._stages),
                _gauge("processes", ["role"], _by_name({**dict.fromkeys(Role, 0), **process_totals.alive(connection)})),
                *_tables(server.hot_tables(connection)),
                _gauge("oldest_snapshot_seconds", [], [((), server.oldest_snapshot_seconds(connection))]),
                _gauge("undeliverable_addresses", [], [((), gauges.undeliverable_addresses(connection))]),
            ]
        return [*found, _gauge("reading_seconds", [], [((), monotonic() - began)])]


def registry(database: Database, *, relays: Sequence[str], stages: Sequence[str] = STAGE_NAMES) -> CollectorRegistry:
    """What ``/metrics`` shows. The database is asked at the first scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OutboxCollector(database, relays=relays, stages=stages))
    return registry


def _name(name: str) -> str:
    return f"notify_{name}"


def _gauge(name: str, labels: Sequence[str], series: Iterable[Sample]) -> Metric:
    return _filled(GaugeMetricFamily(_name(name), HELP[name], labels=labels), series)


def _counter(name: str, labels: Sequence[str], series: Iterable[Sample]) -> Metric:
    return _filled(CounterMetricFamily(_name(name), HELP[name], labels=labels), series)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, series: Iterable[Sample]) -> Metric:
    for values, value in series:
        family.add_metric(values, value)
    return family


def _by_name(values: Mapping[str, float]) -> Iterable[Sample]:
    """A series for each name."""
    return (((name,), value) for name, value in values.items())


def _stages(stages: Mapping[str, Gauges]) -> Iterable[Metric]:
    for name in OF_STAGES:
        yield _gauge(name, ["stage"], _by_name({stage: getattr(found, name) for stage, found in stages.items()}))
    dead = {(stage, POISON): 0.0 for stage in stages} | {
        (stage, reason): float(count)
        for stage, found in stages.items()
        for reason, count in found.dead_last_day.items()
    }
    yield _gauge("dead_last_day", ["stage", "reason"], dead.items())


def _wave(found: Wave | None) -> Metric:
    dead = {POISON: 0.0} | ({found.deaths.reason: float(found.deaths.count)} if found else {})
    return _gauge("wave_of_deaths", ["reason"], _by_name(dead))


def _breakers(breakers: Mapping[str, BreakerState]) -> Metric:
    held = {(relay, reason): float(reason in one.held_open_by) for relay, one in breakers.items() for reason in HELD_BY}
    return _gauge("relay_open", ["relay", "reason"], held.items())


def _buckets(buckets: Mapping[str, Bucket]) -> Iterable[Metric]:
    yield _gauge("rate_owed_seconds", ["bucket"], _by_name({name: one.owed for name, one in buckets.items()}))
    yield _gauge("rate_queued_seconds", ["bucket"], _by_name({name: one.queued for name, one in buckets.items()}))


def _outcomes(outcomes: Mapping[tuple[str, str], int]) -> Iterable[Metric]:
    types = sorted({event_type for event_type, _ in outcomes})
    attempts = {(kind, one): float(outcomes.get((kind, one), 0)) for kind in types for one in Verdict}
    yield _counter("outcomes_total", ["event_type", "outcome"], attempts.items())
    for outcome, name in TOTAL_OF.items():
        yield _counter(name, ["event_type"], _by_name({kind: outcomes.get((kind, outcome), 0) for kind in types}))


def _processes(totals: Mapping[str, Mapping[str, Total]], *, stages: Sequence[str]) -> Iterable[Metric]:
    def counted(measure: Measure, label: str) -> float:
        return totals.get(measure, {}).get(label, NOTHING).count

    rings = {(stage, how): counted(one, stage) for stage in stages for one, how in RINGS.items()}
    yield _counter("doorbells_total", ["stage", "result"], rings.items())
    yield _counter("sweeps_total", ["stage"], _by_name({one: counted(Measure.SWEEP, one) for one in stages}))
    found = {one: counted(Measure.SWEEP_FOUND, one) for one in stages}
    yield _counter("sweeps_that_found_work_total", ["stage"], _by_name(found))
    for measure, name in LATENCIES.items():
        yield _histogram(name, totals.get(measure, {}))
    yield _smtp(totals.get(Measure.SMTP, {}))


def _histogram(name: str, totals: Mapping[str, Total]) -> Metric:
    """The buckets as Prometheus has them: each holds what the smaller ones hold."""
    family = HistogramMetricFamily(_name(name), HELP[name])
    below, buckets = 0, []
    for bound in BUCKETS:
        below += totals.get(bound, NOTHING).count
        buckets.append((bound, float(below)))
    family.add_metric([], buckets, sum(one.seconds for one in totals.values()))
    return family


def _smtp(totals: Mapping[str, Total]) -> Metric:
    family = SummaryMetricFamily(_name("smtp_seconds"), HELP["smtp_seconds"], labels=["phase"])
    for phase in Phase:
        if phase not in {Phase.RECHECK, Phase.RENDER}:
            total = totals.get(phase, NOTHING)
            family.add_metric([phase], total.count, total.seconds)
    return family


def _tables(tables: Sequence[HotTable]) -> Iterable[Metric]:
    yield _gauge("live_tuples", ["table"], _by_name({one.name: one.live for one in tables}))
    yield _gauge("dead_tuples", ["table"], _by_name({one.name: one.dead for one in tables}))
