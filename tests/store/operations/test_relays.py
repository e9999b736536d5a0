"""The circuit breaker that all workers share."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import ColumnElement, Connection, Text, func, literal_column, select, update

from notify.store.database import Database
from notify.store.operations import relays
from notify.store.operations.relays import BreakerState
from notify.store.tables.operations import endpoints
from tests.support import rows
from tests.support.race import blocked_session, meanwhile

RELAY = "mx.example.com:25"
FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=5)
PROBE = timedelta(minutes=1)
XMIN: ColumnElement[str] = literal_column("xmin::text", Text)


def fail_on(connection: Connection, *, opens_after: int = 5, first: timedelta = FIRST) -> BreakerState:
    return relays.record_failure(
        connection, RELAY, reason="relay: dropped", error="421", opens_after=opens_after, first=first, longest=LONGEST
    )


def fail(database: Database, *, times: int = 1, opens_after: int = 5) -> BreakerState:
    for _ in range(times):
        with database.begin() as connection:
            last = fail_on(connection, opens_after=opens_after)
    return last


def opened(database: Database) -> BreakerState:
    return fail(database, times=5)


def breaker_state(database: Database) -> BreakerState:
    with database.begin() as connection:
        return relays.breaker(connection, RELAY)


def take_probe(database: Database) -> bool:
    with database.begin() as connection:
        return relays.take_probe(connection, RELAY, within=PROBE)


def probe_comes_due(database: Database) -> None:
    """Make the probe of an open breaker due."""
    with database.begin() as connection:
        connection.execute(update(endpoints).values(probe_at=rows.ago(seconds=1)))


def wait(database: Database) -> timedelta:
    """The time from the breaker's last change to its next probe, by the database's clock."""
    with database.begin() as connection:
        left: timedelta = connection.execute(select(endpoints.c.probe_at - func.now())).scalar_one()
    return left


def after_a_failed_probe(database: Database) -> BreakerState:
    probe_comes_due(database)
    assert take_probe(database)
    return fail(database)


def after_a_probe_that_lost_its_email(database: Database) -> BreakerState:
    probe_comes_due(database)
    assert take_probe(database)
    with database.begin() as connection:
        relays.record_probe(connection, RELAY)
    assert not breaker_state(database).is_open
    return fail(database)


def test_the_breaker_of_a_relay_without_failures_is_closed(database: Database) -> None:
    assert breaker_state(database) == BreakerState()
    assert not take_probe(database)


def test_the_fifth_failure_in_a_row_opens_the_breaker_whoever_counted_the_others(database: Database) -> None:
    for number in range(4):
        with database.engine.begin() as one_of_many:  # another connection each time stands for another worker
            assert not fail_on(one_of_many).is_open, number
    found = fail(database)
    assert found == breaker_state(database)
    assert (found.is_open, found.failures, found.openings) == (True, 5, 1)
    assert (found.reason, found.last_error) == ("relay: dropped", "421")
    assert FIRST - timedelta(seconds=2) < wait(database) <= FIRST


def test_failures_that_two_workers_record_concurrently_both_count(database: Database) -> None:
    fail(database, times=3)
    with database.engine.connect() as first:
        assert not fail_on(first).is_open
        with meanwhile(fail, database) as second:
            blocked_session(database)
            first.commit()
            assert second.result().is_open


def test_a_success_ends_the_row_of_failures(database: Database) -> None:
    fail(database, times=4)
    with database.begin() as connection:
        relays.record_success(connection, RELAY)
    assert not fail(database, times=4).is_open
    assert fail(database).is_open


def test_trouble_that_needs_a_person_opens_the_breaker_at_once(database: Database) -> None:
    found = fail(database, opens_after=1)
    assert (found.is_open, found.failures, found.openings) == (True, 1, 1)


@pytest.mark.parametrize("again", [after_a_failed_probe, after_a_probe_that_lost_its_email])
def test_one_failure_after_a_probe_opens_the_breaker_again_for_twice_as_long(
    database: Database, again: Callable[[Database], BreakerState]
) -> None:
    opened(database)
    for opening in range(2, 6):
        found = again(database)
        assert (found.is_open, found.openings) == (True, opening)
        expected = FIRST * 2 ** (opening - 1)
        assert expected - timedelta(seconds=2) < wait(database) <= expected


def test_no_wait_is_longer_than_the_cap(database: Database) -> None:
    opened(database)
    for _ in range(40):
        after_a_failed_probe(database)
    assert breaker_state(database).openings == 41
    assert LONGEST - timedelta(seconds=2) < wait(database) <= LONGEST


def test_failures_of_emails_in_flight_when_the_breaker_opened_do_not_prolong_the_wait(database: Database) -> None:
    opened(database)
    before = breaker_state(database)
    found = fail(database, times=20)
    assert (found.openings, found.probe_at) == (1, before.probe_at)
    assert found.failures == 25


def test_failures_of_emails_in_flight_at_a_failed_probe_double_the_wait_once(database: Database) -> None:
    opened(database)
    after_a_failed_probe(database)
    before = breaker_state(database)
    found = fail(database, times=20)
    assert (found.openings, found.probe_at) == (2, before.probe_at)


def test_nobody_probes_before_the_probe_is_due(database: Database) -> None:
    opened(database)
    assert not take_probe(database)


def test_of_two_concurrent_workers_one_probes(database: Database) -> None:
    opened(database)
    probe_comes_due(database)
    with database.engine.connect() as first:
        assert relays.take_probe(first, RELAY, within=PROBE)
        with meanwhile(take_probe, database) as second:
            blocked_session(database)
            first.commit()
            assert not second.result()


def test_a_prober_that_vanishes_is_replaced(database: Database) -> None:
    opened(database)
    probe_comes_due(database)
    assert take_probe(database)
    assert PROBE - timedelta(seconds=5) < wait(database) <= PROBE
    assert breaker_state(database).is_open
    probe_comes_due(database)
    assert take_probe(database)


def test_after_a_successful_probe_emails_flow_but_the_long_wait_is_remembered(database: Database) -> None:
    opened(database)
    with database.begin() as connection:
        relays.record_probe(connection, RELAY)
    found = breaker_state(database)
    assert (found.is_open, found.failures, found.openings, found.probe_at) == (False, 0, 1, None)


def test_a_sent_email_resets_the_breaker(database: Database) -> None:
    opened(database)
    with database.begin() as connection:
        relays.record_success(connection, RELAY)
    found = breaker_state(database)
    assert (found.is_open, found.failures, found.openings, found.probe_at) == (False, 0, 0, None)
    opened(database)
    assert FIRST - timedelta(seconds=2) < wait(database) <= FIRST


@pytest.mark.parametrize("note", [relays.record_success, relays.record_probe])
def test_a_success_on_a_healthy_relay_writes_nothing(
    database: Database, note: Callable[[Connection, str], None]
) -> None:
    with database.begin() as connection:
        note(connection, RELAY)
    assert rows.count_of(database, endpoints) == 0
    fail(database)
    with database.begin() as connection:
        relays.record_success(connection, RELAY)
    with database.begin() as connection:
        before = connection.execute(select(endpoints.c.endpoint, XMIN)).one()
        note(connection, RELAY)
        assert connection.execute(select(endpoints.c.endpoint, XMIN)).one() == before


def test_each_relay_has_its_own_breaker(database: Database) -> None:
    opened(database)
    with database.begin() as connection:
        assert not relays.breaker(connection, "other.example.com:25").is_open


def mute(database: Database, *, because: str | None = None) -> None:
    with database.begin() as connection:
        relays.mute(connection, RELAY, because=because)


def unmute(database: Database) -> bool:
    with database.begin() as connection:
        return relays.unmute(connection, RELAY)


def test_a_relay_muted_before_it_ever_failed_is_open_and_has_a_reason(database: Database) -> None:
    mute(database, because="dana: the relay moves")
    found = breaker_state(database)
    assert found.is_open
    assert found.blocked_by == {"muted"}
    assert found.muted_because == "dana: the relay moves"
    assert unmute(database)
    assert breaker_state(database) == BreakerState()


def test_nobody_probes_a_muted_relay(database: Database) -> None:
    opened(database)
    probe_comes_due(database)
    mute(database)
    assert not take_probe(database)
    assert unmute(database)
    assert take_probe(database)


@pytest.mark.parametrize("note", [relays.record_probe, relays.record_success])
def test_failures_of_a_muted_relay_are_recorded_and_do_not_unmute_it(
    database: Database, note: Callable[[Connection, str], None]
) -> None:
    opened(database)
    mute(database)
    with database.begin() as connection:
        note(connection, RELAY)
    assert breaker_state(database).blocked_by == {"muted"}
    assert fail(database, times=5, opens_after=1).blocked_by == {"muted", "relay"}
    assert unmute(database)
    assert breaker_state(database).blocked_by == {"relay"}


def test_muting_again_changes_the_reason_but_not_the_start(database: Database) -> None:
    mute(database, because="first")
    before = breaker_state(database)
    mute(database, because="second")
    found = breaker_state(database)
    assert (found.muted_at, found.muted_because) == (before.muted_at, "second")


def test_only_a_muted_relay_can_be_unmuted(database: Database) -> None:
    assert not unmute(database)
    opened(database)
    assert not unmute(database)
    assert breaker_state(database).is_open


def test_every_relay_that_ever_failed_is_listed_with_its_state(database: Database) -> None:
    opened(database)
    with database.begin() as connection:
        relays.mute(connection, "another.example.com:25", because=None)
        found = relays.breakers(connection)
        assert found == {relay: relays.breaker(connection, relay) for relay in ("another.example.com:25", RELAY)}
