"""Several relays: letters go over the first that takes them, and come back to it; none is charged for the change."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from notify.store.database import Database
from notify.store.operations import relays
from tests.support.office import Office, many
from tests.support.smtp import Certificate, ScriptedRelay, nobody_listening
from tests.support.wait import until

PROBE_IS_DUE = "UPDATE notify.smtp_relays SET probe_at = now() WHERE state = 'open'"
PROBE_IS_FAR = "UPDATE notify.smtp_relays SET probe_at = now() + interval '1 hour' WHERE state = 'open'"
DUE_AGAIN = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9"
CLOSED = "421 4.3.2 closed for today"


@pytest.fixture
def second() -> Iterator[ScriptedRelay]:
    """The relay that takes over."""
    with ScriptedRelay() as scripted:
        yield scripted


@pytest.fixture
def office(database: Database, relay: ScriptedRelay, second: ScriptedRelay) -> Office:
    """A worker with two relays."""
    return Office(database, relay.url, {"smtp_fallback_urls": second.url})


def name(relay: ScriptedRelay) -> str:
    return relay.url.removeprefix("smtp://")


def states(office: Office) -> dict[str, str]:
    """The relays that were ever in trouble, with where their breakers stand."""
    return {row.relay: row.state for row in office.now("SELECT relay, state FROM notify.smtp_relays")}


def test_while_the_first_relay_takes_letters_the_second_hears_nothing(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    office.letters_wait(*many(20))

    assert office.drain()["sent"] == 20

    assert (len(relay.letters), second.connections) == (20, 0)


@pytest.mark.parametrize("failures", [1, 7])
def test_a_relay_that_opens_no_session_is_passed_over_and_no_letter_is_charged(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay, failures: int
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(failures):
        office.letters_wait("ann", "bob", key=f"k{number}", link=f"CL-{number}")
        assert office.drain()["sent"] == 2

    assert len(second.letters) == 2 * failures
    assert states(office) == {name(relay): "open" if failures >= 5 else "closed"}
    assert set(office.tries("k0")) == {("sent", 1, 0)}


def test_while_the_breaker_of_the_first_is_open_it_is_left_alone_and_afterwards_it_gets_the_letters_again(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    with office.engine() as engine:
        for _ in range(6):
            office.now(PROBE_IS_FAR)
            office.letters_wait("ann", key=f"k{relay.connections}", link=f"CL-{relay.connections}")
            engine.drain()
        assert (relay.connections, len(second.letters)) == (5, 6)
        del relay.answers["GREETING"]
        office.now(PROBE_IS_DUE)

        office.letters_wait("ann", key="probed", link="CL-p")
        assert engine.drain()["sent"] == 1
        until(lambda: states(office)[name(relay)] == "closed")
        office.letters_wait("ann", key="back", link="CL-b")
        assert engine.drain()["sent"] == 1

    assert (len(relay.letters), len(second.letters)) == (1, 7)


def test_a_first_relay_that_is_silent_when_it_is_probed_holds_up_no_letter(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(5):
        office.letters_wait("ann", key=f"k{number}", link=f"CL-{number}")
        office.drain()
    relay.answers.clear()
    silent = relay.hold("GREETING")
    office.now(PROBE_IS_DUE)
    office.letters_wait("ann", key="probed", link="CL-p")
    with office.engine() as engine:
        assert engine.drain()["sent"] == 1
        silent.wait_until_reached()
        assert states(office) == {name(relay): "open"}
        silent.release()
        until(lambda: states(office) == {name(relay): "closed"})

    assert len(second.letters) == 6


def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_relay_that_it_probes(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = CLOSED
    for number in range(5):
        office.letters_wait("ann", key=f"k{number}", link=f"CL-{number}")
        office.drain()
    relay.answers.clear()
    silent = relay.hold("GREETING")
    office.now(PROBE_IS_DUE)
    office.letters_wait("ann", key="probed", link="CL-p")
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        assert engine.drain()["sent"] == 1
        silent.wait_until_reached()
        threads.submit(engine.stop).result(20)

    assert states(office) == {name(relay): "open"}
    assert len(second.letters) == 6


def test_a_relay_that_falls_over_in_the_middle_leaves_the_rest_to_the_next_in_the_same_drain(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    office = Office(database, relay.url, {"smtp_fallback_urls": second.url, "smtp_sessions": 1})
    office.letters_wait(*many(20))
    relay.answers["MAIL"] = lambda _: "421 4.3.2 going down" if len(relay.letters) >= 8 else None
    relay.answers["GREETING"] = lambda _: "421 4.3.2 going down" if len(relay.letters) >= 8 else None

    report = office.drain()
    office.now(DUE_AGAIN)
    rest = office.drain()

    assert report["sent"] > 8
    assert report["sent"] + rest["sent"] == 20
    assert len(relay.letters) == 8
    assert len(second.letters) == 12
    assert {(status, failures) for status, _, failures in office.tries()} == {("sent", 0)}


def test_a_relay_that_falls_silent_in_the_middle_leaves_the_rest_to_the_next_once_patience_is_at_its_end(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.silent_at.add("RCPT")
    office = Office(database, relay.url, {"smtp_fallback_urls": second.url, "smtp_timeout_seconds": 0.5})
    office.letters_wait(*many(20))
    office.now("UPDATE notify.people SET email = username || '@' || username || '.test'")

    report = office.drain()
    office.now(PROBE_IS_FAR)
    office.now(DUE_AGAIN)
    rest = office.drain()

    assert report["sent"] > 0
    assert report["sent"] + rest["sent"] == len(second.letters) == 20
    assert states(office) == {name(relay): "open"}
    assert {(status, failures) for status, _, failures in office.tries()} == {("sent", 0)}


def test_a_wrong_password_at_the_first_is_named_there_and_the_second_takes_the_letters_at_once(
    database: Database, second: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with ScriptedRelay(certificate=trusted, credentials=("notify", "right")) as relay:
        url = relay.url.replace("//", "//notify:wrong@") + "?starttls=required"
        office = Office(database, url, {"smtp_fallback_urls": second.url})
        office.letters_wait("ann", "bob")

        assert office.drain()["sent"] == 2

        assert len(second.letters) == 2
        reasons = office.now("SELECT relay, state, reason FROM notify.smtp_relays")
        assert reasons == [(name(relay), "open", "configuration: auth_refused")]
    assert set(office.tries()) == {("sent", 1, 0)}


def test_while_all_relays_are_down_nothing_is_claimed(database: Database) -> None:
    with nobody_listening() as port, nobody_listening() as other:
        office = Office(database, f"smtp://127.0.0.1:{port}", {"smtp_fallback_urls": f"smtp://127.0.0.1:{other}"})
        office.letters_wait(*many(3))
        for _ in range(7):
            assert office.drain()["claimed"] == 0

        assert states(office) == {f"127.0.0.1:{port}": "open", f"127.0.0.1:{other}": "open"}
    assert set(office.tries()) == {("pending", 0, 0)}


def test_of_two_relays_that_were_down_the_one_that_is_back_gets_the_letters(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    relay.answers["GREETING"] = second.answers["GREETING"] = CLOSED
    office.letters_wait("ann", "bob")
    for _ in range(5):
        office.drain()
    del second.answers["GREETING"]
    office.now(PROBE_IS_DUE)

    assert office.drain()["sent"] == 2

    assert states(office) == {name(relay): "open", name(second): "closed"}
    assert len(second.letters) == 2


def test_a_relay_that_is_muted_sends_its_letters_over_the_next(
    office: Office, relay: ScriptedRelay, second: ScriptedRelay
) -> None:
    office.letters_wait("ann", "bob")
    with office.database.begin() as connection:
        relays.mute(connection, name(relay), because="it moves today")

    assert office.drain()["sent"] == 2

    assert (relay.connections, len(second.letters)) == (0, 2)


def test_a_try_names_the_relay_that_it_was_made_at(office: Office, relay: ScriptedRelay, second: ScriptedRelay) -> None:
    relay.answers["RCPT"] = second.answers["RCPT"] = "450 4.2.0 greylisted, come back"
    office.letters_wait("ann")
    office.drain()
    relay.answers["GREETING"] = CLOSED
    office.now(DUE_AGAIN)
    office.drain()

    tried = office.now("SELECT relay FROM notify.email_attempts ORDER BY id")
    assert [one for (one,) in tried] == [name(relay), name(second)]


@pytest.mark.parametrize(("of_first", "of_second"), [(3, 5), (5, 3)])
def test_each_relay_has_as_many_sessions_as_its_url_says(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay, of_first: int, of_second: int
) -> None:
    urls = {"smtp_fallback_urls": f"{second.url}?sessions={of_second}", "smtp_sessions": 8}
    office = Office(database, f"{relay.url}?sessions={of_first}", urls)
    office.letters_wait(*many(20))
    office.now("UPDATE notify.people SET email = username || '@' || username || '.test'")

    assert sessions(office, relay, of_first) == of_first

    relay.answers["GREETING"] = CLOSED
    office.letters_wait(*many(20), key="k2", link="CL-2")
    office.now("UPDATE notify.people SET email = username || '@' || username || '.test'")
    office.now(DUE_AGAIN)
    assert sessions(office, second, of_second) == of_second


def sessions(office: Office, relay: ScriptedRelay, expected: int) -> int:
    """With how many sessions a worker drains whose letters are held until so many are on their way."""
    everybody = relay.hold("RCPT")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(office.drain)
        relay.wait_until(lambda: relay.count("RCPT") >= expected)
        everybody.release()
        running.result(60)
    return relay.connections
