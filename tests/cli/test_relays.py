"""Muting, probing and listing relays."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from notify.domain.errors import NotifyError
from notify.domain.rates import SessionUsage
from notify.store.database import Database
from notify.store.operations import relays, shares
from tests.cli.conftest import Notify
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def name(relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured relay's name in commands."""
    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)
    return relay.url.rpartition("/")[2]


def breaker(notify: Notify) -> dict[str, Any]:
    """The doctor's finding about it."""
    (found,) = [one for one in notify("doctor", "--json").json if one["about"] == "breaker"]
    assert isinstance(found, dict)
    return found


def test_while_a_relay_is_muted_nothing_is_claimed_and_afterwards_everything_is_sent(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    harness = WorkerHarness(database, relay.url)
    waiting = harness.pending_emails("ann", "bob")

    assert notify("relays", "mute", name, "--because", "dana: the relay moves").code == 0
    assert harness.drain()["claimed"] == 0
    assert harness.jobs() == waiting
    assert harness.attempts() == [("pending", 0, 0)] * 2

    assert notify("relays", "unmute", name).code == 0
    assert harness.drain()["sent"] == 2


def test_the_doctor_says_who_muted_a_relay_and_how_to_unmute_it(notify: Notify, name: str) -> None:
    assert breaker(notify)["ok"]

    notify("relays", "mute", name, "--because", "dana: the [bold]relay moves")

    assert not breaker(notify)["ok"]
    assert "dana: the [bold]relay moves" in breaker(notify)["found"]
    assert breaker(notify)["fix"] == f"notify relays unmute {name}"
    assert "[bold]relay" in notify("relays", "list").output


def test_the_sessions_in_use_under_a_cap_are_shown_wherever_relays_are(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert notify("relays", "list", "--json").json[0]["fleet_sessions"] is None
    monkeypatch.setenv("NOTIFY_SMTP_URL", f"{relay.url}?fleet_sessions=17")
    with database.begin() as connection:
        mine = SessionUsage(wanted=13, sessions=0)
        shares.request(connection, name, UUID(int=1), cap=17, mine=mine, duration=timedelta(minutes=1))

    (listed,) = notify("relays", "list", "--json").json
    assert (listed["fleet_sessions"], listed["sessions"]) == (17, 13)
    (watched,) = notify("top", "--once", "--json").json["relays"]
    assert (watched["fleet_sessions"], watched["sessions"]) == (17, 13)
    (found,) = [one for one in notify("doctor", "--json").json if one["about"] == f"sessions {name}"]
    assert "13 of 17" in found["found"]
    assert all("13 of" in notify(*words).output for words in (("relays", "list"), ("top", "--once")))


@pytest.mark.usefixtures("name")
def test_a_relay_that_refuses_our_number_of_sessions_is_reported_with_the_setting_that_caps_them(
    notify: Notify, database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = "421 4.7.0 relay.test Error: too many connections from 127.0.0.1"
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    for _ in range(5):
        assert harness.drain()["claimed"] == 0

    (listed,) = notify("relays", "list", "--json").json
    assert (listed["is_open"], listed["reason"]) == (True, "throttle: too_many_sessions")
    assert "?fleet_sessions=" in breaker(notify)["fix"]


def test_the_doctor_quotes_the_relays_refusal_of_the_password(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    relay.answers["GREETING"] = "554 5.3.2 not today"
    minute = timedelta(minutes=1)
    with database.begin() as connection:
        relays.record_failure(
            connection,
            name,
            reason="configuration: auth_refused",
            error="535 5.7.8 bad password",
            opens_after=1,
            first=minute,
            longest=minute,
        )

    found = breaker(notify)

    assert not found["ok"]
    assert "configuration: auth_refused" in found["found"]
    assert "535 5.7.8 bad password" in found["found"]
    assert "NOTIFY_SMTP_URL" in found["fix"]


def test_the_list_has_the_configured_relay_and_every_other_that_ever_failed(
    notify: Notify, database: Database, name: str
) -> None:
    with database.begin() as connection:
        relays.mute(connection, "old.example.com:25", because=None)

    listed = {one["relay"]: (one["is_open"], one["state"]) for one in notify("relays", "list", "--json").json}

    assert listed == {name: (False, "closed"), "old.example.com:25": (True, "closed")}


def test_the_configured_relays_are_listed_by_priority_before_the_others(
    notify: Notify, database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SMTP_FALLBACK_URLS", "smtp://z.example.com smtp://b.example.com")
    with database.begin() as connection:
        relays.mute(connection, "a.example.com:25", because=None)

    listed = [(one["relay"], one["priority"]) for one in notify("relays", "list", "--json").json]

    expected = [(name, 1), ("z.example.com:587", 2), ("b.example.com:587", 3), ("a.example.com:25", None)]
    assert listed == expected
    assert [one["relay"] for one in notify("top", "--once", "--json").json["relays"]] == [one for one, _ in expected]
    assert notify("relays", "mute", "b.example.com:587").code == 0


def test_a_relay_at_its_rate_is_listed_with_when_it_may_send_again(
    notify: Notify, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{relay.url}?per_second=0.01"
    monkeypatch.setenv("NOTIFY_SMTP_URL", url)
    harness = WorkerHarness(database, url)
    harness.pending_emails("ann", "bob", "cy")
    assert notify("relays", "list", "--json").json[0]["next_email_in_seconds"] == 0
    harness.drain()

    (listed,) = notify("relays", "list", "--json").json

    assert listed["per_second"] == 0.01
    assert 50 < listed["next_email_in_seconds"] <= 100
    assert "0.01/s," in notify("top", "--once").output


def test_a_mistyped_name_mutes_nothing(notify: Notify, database: Database, name: str) -> None:
    assert isinstance(notify("relays", "mute", f"{name}0").error, NotifyError)
    assert isinstance(notify("relays", "unmute", name).error, NotifyError)

    with database.begin() as connection:
        assert relays.breakers(connection) == {}


def test_a_reason_that_is_too_long_is_refused(notify: Notify, database: Database, name: str) -> None:
    assert notify("relays", "mute", name, "--because", "é" * 513).code == 2

    with database.begin() as connection:
        assert not relays.breaker(connection, name).is_muted


def after_an_outage(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker whose emails wait behind an open breaker, although the relay is back."""
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann", "bob")
    relay.answers["GREETING"] = "421 4.3.2 closed for today"
    for _ in range(5):
        harness.drain()
    harness.execute("UPDATE notify.endpoints SET probe_at = now() + interval '5 minutes'")
    del relay.answers["GREETING"]
    assert harness.drain()["claimed"] == 0
    return harness


def test_a_recovered_relay_gets_its_emails_as_soon_as_somebody_probes_it(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    harness = after_an_outage(database, relay)

    output = notify("relays", "probe", name, "--json")

    assert output.code == 0
    assert output.json["takes_sessions"]
    assert output.json["closed"]
    assert "open: relay" in output.json["was"]
    assert (output.json["is_open"], output.json["in_words"]) == (False, "closed")
    assert relay.count("NOOP") == 1
    assert relay.count("MAIL") == 0
    assert harness.drain()["sent"] == 2


def test_a_recovered_relay_gets_its_emails_as_soon_as_the_doctor_has_checked_it(
    well: Notify, database: Database, relay: ScriptedRelay
) -> None:
    harness = after_an_outage(database, relay)
    assert well("top", "--once", "--json").json["wrong"][0]["about"] == "breaker"
    assert harness.drain()["claimed"] == 0

    finding = breaker(well)

    assert finding["ok"]
    assert "was open: relay" in finding["found"]
    assert "closed for today" in finding["found"]
    assert breaker(well)["found"] == "closed"
    assert harness.drain()["sent"] == 2


@pytest.mark.parametrize("refusal", ["550 5.7.1 sender not allowed", "530 5.7.0 authentication required"])
def test_the_doctor_does_not_call_healthy_what_a_session_cannot_show(
    well: Notify, database: Database, relay: ScriptedRelay, refusal: str
) -> None:
    relay.answers["MAIL"] = refusal
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    harness.drain()

    finding = breaker(well)

    assert not finding["ok"]
    assert refusal[4:] in finding["found"]
    assert "send-test" in finding["fix"]
    assert harness.execute("SELECT state FROM notify.endpoints") == [("closed",)]


def test_a_relay_that_still_refuses_is_quoted_and_its_breaker_stays_open(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    harness = after_an_outage(database, relay)
    relay.answers["GREETING"] = "554 5.3.2 still [bold]closed"
    before = harness.execute("SELECT * FROM notify.endpoints")

    output = notify("relays", "probe", name)
    told = notify("relays", "probe", name, "--json").json

    assert output.code == 1
    assert "554 5.3.2 still [bold]closed" in output.output
    assert (told["takes_sessions"], told["closed"], told["refused"]["answer"]["code"]) == (False, False, 554)
    assert harness.execute("SELECT * FROM notify.endpoints") == before
    assert notify("doctor", "--json").code == 1
    assert harness.execute("SELECT * FROM notify.endpoints") == before


def test_a_muted_relay_is_not_contacted_and_the_doctor_leaves_it_muted(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    harness = after_an_outage(database, relay)
    notify("relays", "mute", name)
    before, connections = harness.execute("SELECT * FROM notify.endpoints"), relay.connections

    assert isinstance(notify("relays", "probe", name).error, NotifyError)

    assert relay.connections == connections
    assert not breaker(notify)["ok"]
    assert harness.execute("SELECT * FROM notify.endpoints") == before


def test_probing_a_healthy_relay_writes_nothing(notify: Notify, database: Database, name: str) -> None:
    assert notify("relays", "probe", name).code == 0
    assert isinstance(notify("relays", "probe", f"{name}0").error, NotifyError)
    with database.begin() as connection:
        assert relays.breakers(connection) == {}


def test_a_probe_by_hand_beside_a_workers_own_sends_every_email_once(
    notify: Notify, database: Database, relay: ScriptedRelay, name: str
) -> None:
    harness = after_an_outage(database, relay)
    harness.execute("UPDATE notify.endpoints SET probe_at = now()")
    gate = relay.pause_at("NOOP")
    with harness.engine() as engine, ThreadPoolExecutor(2) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        by_hand = threads.submit(lambda: notify("relays", "probe", name).code)
        relay.wait_until(lambda: relay.count("NOOP") == 2)
        gate.release()
        assert draining.result(60)["sent"] == 2
        assert by_hand.result(60) == 0

    assert len(relay.emails) == 2
    assert harness.execute("SELECT state, failures, openings FROM notify.endpoints") == [("closed", 0, 0)]


def test_a_workers_failed_probe_after_a_successful_one_by_hand_opens_the_breaker_again(
    database: Database, relay: ScriptedRelay, notify: Notify, name: str
) -> None:
    harness = after_an_outage(database, relay)
    harness.execute("UPDATE notify.endpoints SET probe_at = now()")
    with database.begin() as connection:
        assert relays.take_probe(connection, name, within=timedelta(minutes=1))

    assert notify("relays", "probe", name).code == 0
    relay.answers["GREETING"] = "421 4.3.2 closed again"
    harness.drain()

    assert harness.execute("SELECT state, openings FROM notify.endpoints") == [("open", 2)]
    assert {(job.status, job.attempt) for job in harness.jobs() if job.to_email} == {("pending", 0)}
