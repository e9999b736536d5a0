"""Prometheus metrics."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
from prometheus_client.parser import text_string_to_metric_families

from notify.api.app import build_app
from notify.api.metrics import HELP, OutboxCollector
from notify.domain.measures import Measure, Role, bucket
from notify.domain.rates import Bucket
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.statuses import TargetStatus
from notify.domain.waves import MIN_DEATHS
from notify.http.context import Context
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.statuses.publish import publish
from notify.statuses.schema import parse as parse_status
from notify.store.database import Database
from notify.store.operations import process_totals, rates, stats
from notify.store.webhooks import calls as stored_calls
from notify.store.webhooks import endpoints
from notify.tally import Tally
from notify.work.forges import Forges
from tests.support import rows
from tests.support.in_process import InProcess
from tests.support.promtool import needs_promtool, promtool
from tests.support.rows import ended
from tests.support.statements import statements
from tests.support.statuses import wanted
from tests.support.webhook_calls import DEAD, DELIVERED, FAILED, SKIPPED, Calls

EVENT = {"type": "cl.comment.created", "actor": "dana", "cl": {"link": "CL-1"}, "comment": {"id": "1", "body": "Why?"}}
WORKER = UUID(int=1)
RELAY = "mx.example.com:587"
MOST_STATEMENTS = 22
Series = dict[str, float]


def scrape(context: Context) -> Series:
    """Every series with its value."""
    with httpx.Client(transport=InProcess(build_app(context)), base_url="http://notify.test") as api:
        answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def sync_minutes(context: Context, *forges: str) -> dict[str, float]:
    """Minutes since the last complete reading, where these forges are configured."""
    known: Any = dict.fromkeys(forges)
    name = 'notify_sync_age_seconds{forge="'
    found = scrape(replace(context, forges=Forges(context.database, known)))
    return {one.removeprefix(name)[:-2]: age // 60 for one, age in found.items() if one.startswith(name)}


def families(context: Context) -> set[str]:
    return {series.partition("{")[0] for series in scrape(context)}


def test_prometheus_reads_how_many_rows_are_due(context: Context) -> None:
    with context.database.begin() as connection:
        receive(connection, [parse(EVENT), parse(EVENT)])

    series = scrape(context)

    assert series['notify_due{stage="fan_out"}'] == 2
    assert series['notify_due{stage="deliver"}'] == 0


def test_every_metric_has_a_series_from_the_start_except_those_of_what_is_added_later(context: Context) -> None:
    parts = ("_bucket", "_sum", "_count")
    found = families(replace(context, relays=(RELAY,)))
    shown = {name for name in HELP if any(f"notify_{name}{part}" in found for part in ("", *parts))}
    of_queues = {"queue_last_green_age_seconds", "requests", "push_to_verdict_seconds"}
    of_webhooks = {"webhook_calls", "webhook_failing"}
    others = {"outcomes_total", "lapses_total", "ambiguous_total", "sync_age_seconds"}
    assert HELP.keys() - shown == others | of_queues | of_webhooks


def test_the_used_share_of_a_rate_has_its_name_as_a_label(context: Context) -> None:
    with context.database.begin() as connection:
        names = [rates.of_relay("mx:25"), rates.of_domain("*.slow.test")]
        rates.lock(connection, names)
        rates.store(connection, {names[1]: Bucket(owed=2000, queued=3000)})

    series = scrape(context)

    assert series['notify_rate_owed_seconds{bucket="relay mx:25"}'] == 0
    assert 1900 < series['notify_rate_owed_seconds{bucket="domain *.slow.test"}'] <= 2000
    assert 2900 < series['notify_rate_queued_seconds{bucket="domain *.slow.test"}'] <= 3000


def test_outcomes_are_counted_by_event_type_with_a_series_for_each_possible_one(context: Context) -> None:
    with context.database.begin() as connection:
        counts = Counter({("cl.merged", "sent"): 3, ("cl.merged", "duplicate_sent"): 1, ("cl.merged", "lapse"): 2})
        stats.count(connection, worker=WORKER, counts=counts)

    series = scrape(context)

    assert series['notify_outcomes_total{event_type="cl.merged",outcome="sent"}'] == 3
    assert series['notify_outcomes_total{event_type="cl.merged",outcome="duplicate_sent"}'] == 1
    assert series['notify_outcomes_total{event_type="cl.merged",outcome="lease_lost"}'] == 0
    assert series['notify_lapses_total{event_type="cl.merged"}'] == 2
    assert series['notify_ambiguous_total{event_type="cl.merged"}'] == 0


def test_dead_emails_are_counted_by_reason(context: Context) -> None:
    with context.database.begin() as connection:
        rows.job(connection, **ended("dead"), outcome_reason="refused")

    series = scrape(context)

    assert series['notify_dead_last_day{reason="refused",stage="deliver"}'] == 1
    assert series['notify_dead_last_day{reason="poison",stage="deliver"}'] == 0


def test_a_wave_of_dead_emails_is_shown_by_reason(context: Context) -> None:
    assert scrape(context)['notify_wave_of_deaths{reason="poison"}'] == 0
    with context.database.begin() as connection:
        for _ in range(MIN_DEATHS):
            rows.job(connection, **ended("dead"), outcome_reason="oversize")

    series = scrape(context)

    assert series['notify_wave_of_deaths{reason="oversize"}'] == MIN_DEATHS
    assert series['notify_wave_of_deaths{reason="poison"}'] == 0


def test_counts_are_summed_over_all_processes(context: Context) -> None:
    age = 0.3
    counts: dict[tuple[str, str], tuple[int, float]] = {
        (Measure.DOORBELL_SENT, DELIVER): (5, 0.0),
        (Measure.SWEEP_FOUND, FAN_OUT): (2, 0.0),
        (Measure.SMTP, "final_dot"): (4, 1.5),
        (Measure.TO_SENT, bucket(age)): (3, 3 * age),
        (Measure.TO_SENT, bucket(90)): (1, 90.0),
        (Measure.FLUSH, Role.WORKER): (1, 0.0),
    }
    with context.database.begin() as connection:
        for process in (UUID(int=1), UUID(int=2)):
            process_totals.add(connection, process=process, counts=counts)

    series = scrape(context)

    assert series['notify_doorbells_total{result="sent",stage="deliver"}'] == 10
    assert series['notify_doorbells_total{result="failed",stage="deliver"}'] == 0
    assert series['notify_sweeps_that_found_work_total{stage="fan_out"}'] == 4
    assert (
        series['notify_smtp_seconds_count{phase="final_dot"}'],
        series['notify_smtp_seconds_sum{phase="final_dot"}'],
    ) == (8, 3)
    below = {
        bound: series[f'notify_event_to_sent_seconds_bucket{{le="{bound}"}}']
        for bound in ("0.25", "0.5", "60", "300", "+Inf")
    }
    assert below == {"0.25": 0, "0.5": 6, "60": 6, "300": 8, "+Inf": 8}
    assert series["notify_event_to_sent_seconds_sum"] == 2 * (3 * age + 90)
    assert series['notify_processes{role="worker"}'] == 2


def test_an_api_process_writes_its_counts_when_it_ends(context: Context) -> None:
    tally = Tally(context.database, process=WORKER, role=Role.API, every_seconds=3600)

    async def serve() -> None:
        app = build_app(replace(context, tally=tally))
        async with app.router.lifespan_context(app):
            tally.count(Measure.DOORBELL_SENT, FAN_OUT)

    asyncio.run(serve())

    series = scrape(context)
    assert series['notify_doorbells_total{result="sent",stage="fan_out"}'] == 1
    assert series['notify_processes{role="api"}'] == 1


def test_every_metric_family_has_a_help_text_and_prometheus_can_parse_it(context: Context) -> None:
    with httpx.Client(transport=InProcess(build_app(context)), base_url="http://notify.test") as api:
        found = list(text_string_to_metric_families(api.get("/metrics").text))
    assert {one.documentation for one in found} == set(HELP.values())
    assert {one.type for one in found} == {"gauge", "counter", "histogram", "summary"}


def test_scrapes_within_fifteen_seconds_query_the_database_once(database: Database) -> None:
    clock = [100.0]
    collector = OutboxCollector(database, now=lambda: clock[0])

    def due() -> float:
        (family,) = (one for one in collector.collect() if one.name == "notify_due")
        return float(family.samples[0].value)

    assert due() == 0
    with database.begin() as connection:
        receive(connection, [parse(EVENT)])
    clock[0] += 14
    assert due() == 0
    clock[0] += 1
    assert due() == 1


def test_a_scrape_takes_as_many_statements_however_many_rows_there_are(database: Database) -> None:
    with database.begin() as connection:
        for number in range(50):
            rows.job(connection, **ended("dead"), outcome_reason=f"reason-{number % 7}")
            stats.count(connection, worker=UUID(int=number), counts=Counter({(f"type-{number}", "sent"): 1}))
    with statements(database) as sent:
        list(OutboxCollector(database, relays=(RELAY,)).collect())
    assert len(sent) <= MOST_STATEMENTS


@needs_promtool
def test_promtool_accepts_a_scrape(context: Context) -> None:
    with context.database.begin() as connection:
        stats.count(connection, worker=WORKER, counts=Counter({("cl.merged", "sent"): 3}))
    with httpx.Client(transport=InProcess(build_app(context)), base_url="http://notify.test") as api:
        assert promtool("check", "metrics", given=api.get("/metrics").text) == ""


def test_a_forge_whose_repositories_were_never_listed_counts_from_its_first_fault(context: Context) -> None:
    with context.database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO notify.forges (name, fault, fault_at) VALUES"
            " ('code', 'Misconfigured', now() - interval '2 hours'), ('new', NULL, NULL)"
        )
    assert sync_minutes(context, "code", "new") == {"code": 120, "new": 0}


def test_the_oldest_sweep_of_a_forge_counts_and_a_repository_that_is_gone_does_not(context: Context) -> None:
    with context.database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO notify.forge_repositories (forge, forge_id, full_name, swept_at, fault, fault_at, gone) VALUES"
            " ('github', 1, 'acme/new', now() - interval '1 min', NULL, NULL, false),"
            " ('github', 2, 'acme/old', now() - interval '1 hour', NULL, NULL, false),"
            " ('github', 3, 'acme/gone', now() - interval '1 day', NULL, NULL, true),"
            " ('code', 4, 'acme/never', NULL, 'forbidden', now() - interval '2 hours', false)"
        )

    assert sync_minutes(context, "code", "github") == {"code": 120, "github": 60}
    assert sync_minutes(context, "github") == {"github": 60}, "a forge that is no longer configured alarms nobody"


def test_webhook_calls_are_counted_by_endpoint_and_a_failing_endpoint_is_named(context: Context) -> None:
    calls = Calls(context.database)
    for name in ("crm", "down", "gone", "silent"):
        calls.endpoint(name)
    for result in (DELIVERED, DEAD, FAILED, SKIPPED, None):
        calls.call(result=result)
    calls.open_breaker("down")
    with context.database.begin() as connection:
        gone_id = connection.exec_driver_sql("SELECT id FROM notify.webhook_endpoints WHERE name = 'gone'").scalar_one()
        stored_calls.disable(connection, gone_id, because="gone")
        endpoints.change(connection, "silent", {"enabled": False})

    series = scrape(context)

    counts = {
        status: series[f'notify_webhook_calls{{endpoint="crm",status="{status}"}}']
        for status in ("pending", "retrying", "delivered", "dead", "skipped")
    }
    assert counts == dict.fromkeys(counts, 1)
    failing = {
        name: series[f'notify_webhook_failing{{endpoint="{name}"}}'] for name in ("crm", "down", "gone", "silent")
    }
    assert failing == {"crm": 1, "down": 1, "gone": 1, "silent": 0}
    assert not [name for name in series if name.startswith("notify_relay_open") and "webhook" in name]
    assert series['notify_dead_last_day{reason="http_500",stage="webhooks"}'] == 1


def test_statuses_are_counted_by_what_became_of_them_and_versions_that_were_never_shown(context: Context) -> None:
    with context.database.begin() as connection:
        publish(connection, [parse_status(wanted(context=f"ci/{number}")) for number in range(3)])
        connection.exec_driver_sql(
            "UPDATE notify.commit_statuses SET replaced = 4, status = 'dead', outcome_reason = 'gone',"
            " finished_at = now() WHERE context = 'ci/0'"
        )

    series = scrape(context)

    counts = {status.value: series[f'notify_statuses{{status="{status}"}}'] for status in TargetStatus}
    assert counts == {"pending": 2, "dead": 1, "applied": 0, "skipped": 0, "cancelled": 0}
    assert series["notify_statuses_replaced"] == 4
    assert series['notify_due{stage="statuses"}'] == 3
