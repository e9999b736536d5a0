"""A failing relay costs no email an attempt, and one worker discovers its recovery."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from notify.delivery.drain import ASK_AGAIN_SECONDS
from notify.store.database import Database
from notify.store.operations import relays
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import Certificate, ScriptedRelay, nobody_listening
from tests.support.wait import until

PROBE_IS_DUE = "UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'"
BREAKER_STATE = "SELECT state, failures, openings FROM notify.endpoints"
UNTOUCHED = {("pending", 0, 0)}


def test_an_outage_costs_no_email_an_attempt(database: Database) -> None:
    with nobody_listening() as port:
        harness = WorkerHarness(database, f"smtp://127.0.0.1:{port}")
        harness.pending_emails(*usernames(3))
        for _ in range(7):
            assert harness.drain()["claimed"] == 0

    assert set(harness.attempts()) == UNTOUCHED
    assert harness.execute(BREAKER_STATE) == [("open", 5, 1)]


def test_after_an_outage_one_probe_resumes_delivery(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    relay.answers["GREETING"] = "421 4.3.2 closed for today"
    harness.pending_emails(*usernames(3))
    for _ in range(5):
        harness.drain()
    assert harness.execute(BREAKER_STATE) == [("open", 5, 1)]
    del relay.answers["GREETING"]

    assert harness.drain()["claimed"] == 0
    harness.execute(PROBE_IS_DUE)
    assert harness.drain()["sent"] == 3

    assert harness.execute(BREAKER_STATE) == [("closed", 0, 0)]
    assert {(job.status, job.attempt) for job in harness.jobs() if job.to_email} == {("sent", 1)}


def test_a_failed_probe_doubles_the_wait(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    relay.answers["GREETING"] = "554 5.3.2 no service"
    harness.pending_emails("ann")
    for _ in range(5):
        harness.drain()
    waits: list[tuple[float]] = []
    for _ in range(3):
        waits += harness.execute("SELECT round(extract(epoch FROM probe_at - now())) FROM notify.endpoints")
        harness.execute(PROBE_IS_DUE)
        harness.drain()

    assert [int(wait) for (wait,) in waits] == [5, 10, 20]
    assert set(harness.attempts()) == UNTOUCHED


def test_an_untrusted_certificate_opens_the_breaker_and_nothing_is_claimed(database: Database, tmp_path: Path) -> None:
    with ScriptedRelay(certificate=Certificate.made(tmp_path)) as relay:
        harness = WorkerHarness(database, f"{relay.url}?starttls=required")
        harness.pending_emails("ann")

        assert harness.drain()["claimed"] == 0

    assert harness.execute("SELECT state, reason LIKE 'configuration%' FROM notify.endpoints") == [("open", True)]
    assert set(harness.attempts()) == UNTOUCHED


def test_a_refused_sender_opens_the_breaker_at_once_and_charges_no_email(
    database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["MAIL"] = "550 5.7.1 sender not allowed"
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(3))

    report = harness.drain()

    assert (report["sent"], report["retried"], report["dead"]) == (0, 0, 0)
    assert harness.execute("SELECT state, reason LIKE 'configuration%' FROM notify.endpoints") == [("open", True)]
    assert {(job.status, job.failures) for job in harness.jobs() if job.to_email} == {("pending", 0)}
    assert relay.emails == []


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [(("SIZE 3000",), "configuration: size_limit"), ((), "configuration: oversize")],
    ids=["in EHLO", "after MAIL"],
)
def test_a_relay_that_refuses_even_ordinary_emails_kills_none_and_the_next_relay_gets_them(
    database: Database, relay: ScriptedRelay, extensions: tuple[str, ...], reason: str
) -> None:
    relay.extensions = extensions
    relay.answers["MAIL"] = "552 5.3.4 message size exceeds fixed limit"
    alone = WorkerHarness(database, relay.url)
    alone.pending_emails(*usernames(5))
    alone.drain()

    assert {(job.status, job.failures) for job in alone.jobs() if job.to_email} == {("pending", 0)}
    assert alone.execute("SELECT state, reason FROM notify.endpoints") == [("open", reason)]
    with ScriptedRelay() as second:
        alone.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9")
        assert WorkerHarness(database, relay.url, {"smtp_fallback_urls": second.url}).drain()["sent"] == 5
        assert len(second.emails) == 5
    assert relay.emails == []


def test_a_relay_that_fails_in_the_middle_loses_no_email(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(20))
    relay.answers["MAIL"] = lambda _: "421 4.3.2 going down" if len(relay.emails) >= 8 else None

    report = harness.drain()

    assert report["sent"] == 8
    assert report["retried"] == report["dead"] == 0
    assert harness.execute("SELECT state FROM notify.endpoints") == [("open",)]
    assert {failures for _, _, failures in harness.attempts()} == {0}
    relay.answers.clear()
    harness.execute(PROBE_IS_DUE)
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9")
    assert harness.drain()["sent"] == 12
    assert len(relay.emails) == 20


def test_only_one_worker_probes_at_a_time(database: Database, relay: ScriptedRelay) -> None:
    relay.answers["GREETING"] = "421 4.3.2 closed"
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    for _ in range(5):
        harness.drain()
    harness.execute(PROBE_IS_DUE)
    before = relay.connections
    with harness.engine() as first, harness.engine() as second:
        first.drain()
        second.drain()

    assert relay.connections == before + 1


def test_a_relay_muted_during_a_drain_gets_only_emails_already_claimed(
    database: Database, relay: ScriptedRelay
) -> None:
    harness = WorkerHarness(database, relay.url, {"claim_size": 5, "smtp_sessions": 1})
    harness.pending_emails(*usernames(20))
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        with database.begin() as connection:
            relays.mute(connection, relay.url.removeprefix("smtp://"), because="it moves today")
        asked_again = monotonic() + ASK_AGAIN_SECONDS
        until(lambda: monotonic() > asked_again)
        gate.release()
        report = draining.result(60)

    assert 0 < report["sent"] < 20
    assert report["released"] == report["claimed"] - report["sent"]
    assert len(relay.emails) == report["sent"]
    untouched = [job for job in harness.jobs() if job.to_email and job.attempt == 0]
    assert len(untouched) == 20 - report["claimed"]
