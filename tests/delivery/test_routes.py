"""Several relays: emails go to the first that accepts them and return to it later; none is charged for the change."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from notify.store.database import Database
from notify.store.operations import relays
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import Certificate, ScriptedRelay, nobody_listening
from tests.support.wait import until

PROBE_IS_DUE = "UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'"
PROBE_IS_FAR = "UPDATE notify.endpoints SET probe_at = now() + interval '1 hour' WHERE state = 'open'"
DUE_AGAIN = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9"
CLOSED = "421 4.3.2 closed for today"


@pytest.fixture
def second() -> Iterator[ScriptedRelay]:
    """The fallback relay."""
    with ScriptedRelay() as scripted:
        yield scripted


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay, second: ScriptedRelay) -> WorkerHarness:
    """A worker with two relays."""
    return WorkerHarness(database, relay.url, {"smtp_fallback_urls": second.url})


def name(relay: ScriptedRelay) -> str:
    return relay.url.removeprefix("smtp://")


def states(harness: WorkerHarness) -> dict[str, str]:
    """The states of all breakers that were ever used, by relay."""
    return {row.endpoint: row.state for row in harness.execute("SELECT endpoint, state FROM notify.endpoints")}


def test_while_the_first_relay_accepts_emails_the_second_is_not_contacted(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(20))

    assert harness.drain()["sent"] == 20

    assert (len(relay.emails), second.connections) == (20, 0)


@pytest.mark.parametrize("failures", [1, 7])
def test_a_relay_that_opens_no_session_is_skipped_and_no_email_is_charged(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay, failures: int
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(failures):
        harness.pending_emails("ann", "bob", key=f"k{number}", link=f"CL-{number}")
        assert harness.drain()["sent"] == 2

    assert len(second.emails) == 2 * failures
    assert states(harness) == {name(relay): "open" if failures >= 5 else "closed"}
    assert set(harness.attempts("k0")) == {("sent", 1, 0)}


def test_a_relay_is_left_alone_while_its_breaker_is_open_and_gets_the_emails_again_afterwards(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    with harness.engine() as engine:
        for _ in range(6):
            harness.execute(PROBE_IS_FAR)
            harness.pending_emails("ann", key=f"k{relay.connections}", link=f"CL-{relay.connections}")
            engine.drain()
        assert (relay.connections, len(second.emails)) == (5, 6)
        del relay.answers["GREETING"]
        harness.execute(PROBE_IS_DUE)

        harness.pending_emails("ann", key="probed", link="CL-p")
        assert engine.drain()["sent"] == 1
        until(lambda: states(harness)[name(relay)] == "closed")
        harness.pending_emails("ann", key="back", link="CL-b")
        assert engine.drain()["sent"] == 1

    assert (len(relay.emails), len(second.emails)) == (1, 7)


def test_a_probe_of_a_silent_first_relay_delays_no_email(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(5):
        harness.pending_emails("ann", key=f"k{number}", link=f"CL-{number}")
        harness.drain()
    relay.answers.clear()
    silent = relay.pause_at("GREETING")
    harness.execute(PROBE_IS_DUE)
    harness.pending_emails("ann", key="probed", link="CL-p")
    with harness.engine() as engine:
        assert engine.drain()["sent"] == 1
        silent.wait_until_reached()
        assert states(harness) == {name(relay): "open"}
        silent.release()
        until(lambda: states(harness) == {name(relay): "closed"})

    assert len(second.emails) == 6


def test_a_stopping_worker_does_not_wait_for_a_probe(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(5):
        harness.pending_emails("ann", key=f"k{number}", link=f"CL-{number}")
        harness.drain()
    relay.answers.clear()
    silent = relay.pause_at("GREETING")
    harness.execute(PROBE_IS_DUE)
    harness.pending_emails("ann", key="probed", link="CL-p")
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        assert engine.drain()["sent"] == 1
        silent.wait_until_reached()
        threads.submit(engine.stop).result(20)

    assert states(harness) == {name(relay): "open"}
    assert len(second.emails) == 6


def test_when_a_relay_fails_in_the_middle_the_same_drain_sends_the_rest_over_the_next(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    harness = WorkerHarness(database, relay.url, {"smtp_fallback_urls": second.url, "smtp_sessions": 1})
    harness.pending_emails(*usernames(20))
    relay.answers["MAIL"] = lambda _: "421 4.3.2 going down" if len(relay.emails) >= 8 else None
    relay.answers["GREETING"] = lambda _: "421 4.3.2 going down" if len(relay.emails) >= 8 else None

    report = harness.drain()
    harness.execute(DUE_AGAIN)
    rest = harness.drain()

    assert report["sent"] > 8
    assert report["sent"] + rest["sent"] == 20
    assert len(relay.emails) == 8
    assert len(second.emails) == 12
    assert {(status, failures) for status, _, failures in harness.attempts()} == {("sent", 0)}


def test_when_a_relay_goes_silent_in_the_middle_the_rest_goes_over_the_next_after_the_timeout(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.silent_at.add("RCPT")
    harness = WorkerHarness(database, relay.url, {"smtp_fallback_urls": second.url, "smtp_timeout_seconds": 0.5})
    harness.pending_emails(*usernames(20))
    harness.execute("UPDATE notify.people SET email = username || '@' || username || '.test'")

    report = harness.drain()
    harness.execute(PROBE_IS_FAR)
    harness.execute(DUE_AGAIN)
    rest = harness.drain()

    assert report["sent"] > 0
    assert report["sent"] + rest["sent"] == len(second.emails) == 20
    assert states(harness) == {name(relay): "open"}
    assert {(status, failures) for status, _, failures in harness.attempts()} == {("sent", 0)}


def test_a_wrong_password_is_reported_for_the_first_relay_and_the_second_takes_the_emails_at_once(
    database: Database, second: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with ScriptedRelay(certificate=trusted, credentials=("notify", "right")) as relay:
        url = relay.url.replace("//", "//notify:wrong@") + "?starttls=required"
        harness = WorkerHarness(database, url, {"smtp_fallback_urls": second.url})
        harness.pending_emails("ann", "bob")

        assert harness.drain()["sent"] == 2

        assert len(second.emails) == 2
        reasons = harness.execute("SELECT endpoint, state, reason FROM notify.endpoints")
        assert reasons == [(name(relay), "open", "configuration: auth_refused")]
    assert set(harness.attempts()) == {("sent", 1, 0)}


def test_while_all_relays_are_down_nothing_is_claimed(database: Database) -> None:
    with nobody_listening() as port, nobody_listening() as other:
        harness = WorkerHarness(
            database, f"smtp://127.0.0.1:{port}", {"smtp_fallback_urls": f"smtp://127.0.0.1:{other}"}
        )
        harness.pending_emails(*usernames(3))
        for _ in range(7):
            assert harness.drain()["claimed"] == 0

        assert states(harness) == {f"127.0.0.1:{port}": "open", f"127.0.0.1:{other}": "open"}
    assert set(harness.attempts()) == {("pending", 0, 0)}


def test_of_two_relays_that_were_down_the_one_that_recovers_gets_the_emails(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = second.answers["GREETING"] = CLOSED
    harness.pending_emails("ann", "bob")
    for _ in range(5):
        harness.drain()
    del second.answers["GREETING"]
    harness.execute(PROBE_IS_DUE)

    assert harness.drain()["sent"] == 2

    assert states(harness) == {name(relay): "open", name(second): "closed"}
    assert len(second.emails) == 2


def test_emails_go_over_the_next_relay_while_the_first_is_muted(
    harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    harness.pending_emails("ann", "bob")
    with harness.database.begin() as connection:
        relays.mute(connection, name(relay), because="it moves today")

    assert harness.drain()["sent"] == 2

    assert (relay.connections, len(second.emails)) == (0, 2)


def test_an_attempt_names_its_relay(harness: WorkerHarness, relay: ScriptedRelay, second: ScriptedRelay) -> None:
    relay.answers["RCPT"] = second.answers["RCPT"] = "450 4.2.0 greylisted, come back"
    harness.pending_emails("ann")
    harness.drain()
    relay.answers["GREETING"] = CLOSED
    harness.execute(DUE_AGAIN)
    harness.drain()

    attempts = harness.execute("SELECT relay FROM notify.email_attempts ORDER BY id")
    assert [one for (one,) in attempts] == [name(relay), name(second)]


@pytest.mark.parametrize(("of_first", "of_second"), [(3, 5), (5, 3)])
def test_each_relay_has_as_many_sessions_as_its_url_says(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay, of_first: int, of_second: int
) -> None:
    urls = {"smtp_fallback_urls": f"{second.url}?sessions={of_second}", "smtp_sessions": 8}
    harness = WorkerHarness(database, f"{relay.url}?sessions={of_first}", urls)
    harness.pending_emails(*usernames(20))
    harness.execute("UPDATE notify.people SET email = username || '@' || username || '.test'")

    assert sessions(harness, relay, of_first) == of_first

    relay.answers["GREETING"] = CLOSED
    harness.pending_emails(*usernames(20), key="k2", link="CL-2")
    harness.execute("UPDATE notify.people SET email = username || '@' || username || '.test'")
    harness.execute(DUE_AGAIN)
    assert sessions(harness, second, of_second) == of_second


def sessions(harness: WorkerHarness, relay: ScriptedRelay, expected: int) -> int:
    """How many sessions a drain opens when the relay answers nobody until *expected* emails are in flight."""
    everybody = relay.pause_at("RCPT")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(harness.drain)
        relay.wait_until(lambda: relay.count("RCPT") >= expected)
        everybody.release()
        running.result(60)
    return relay.connections
