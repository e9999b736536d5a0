"""Events in the table: what a claim says of them, and who may end them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from notify.store import events
from notify.store.database import Database
from notify.store.events import ClaimedEvent, EventEnding
from notify.store.tables import events as table
from tests.support import rows
from tests.support.statements import statements

LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def put(database: Database, **columns: object) -> int:
    with database.begin() as connection:
        return rows.event(connection, **columns)


def claim_one(database: Database) -> ClaimedEvent:
    with database.begin() as connection:
        (found,) = events.claim(connection, limit=10, lease=LEASE, worker=WORKER)
    return found


def claim_lapsed(database: Database, event_id: int) -> ClaimedEvent:
    rows.let_lease_end(database, table, event_id)
    with database.begin() as connection:
        found = events.claim_lapsed(connection, lease=LEASE, worker=WORKER)
    assert found is not None
    return found


def record(database: Database, *endings: EventEnding) -> set[int]:
    with database.begin() as connection:
        return events.record(connection, endings)


def test_a_claimed_event_says_what_happened_and_what_was_tried(database: Database) -> None:
    event_id = put(database, key="k1", actor="dana", occurred_at=NOON, payload={"comment": {"body": "é"}}, failures=2)
    found = claim_one(database)
    assert (found.event.id, found.event.key, found.event.actor) == (event_id, "k1", "dana")
    assert (found.event.occurred_at, found.event.payload) == (NOON, {"comment": {"body": "é"}})
    assert (found.claim.id, found.claim.attempt, found.claim.failures, found.claim.max_failures) == (event_id, 1, 2, 10)


def test_the_event_that_a_vanished_worker_left_is_claimed_alone(database: Database) -> None:
    event_id = put(database)
    first = claim_one(database)
    assert claim_lapsed(database, event_id).claim == replace(first.claim, attempt=2, lapses=1)
    with database.begin() as connection:
        assert events.claim_lapsed(connection, lease=LEASE, worker=WORKER) is None


def test_an_event_that_outlived_three_workers_is_poison(database: Database) -> None:
    event_id = put(database)
    claim_one(database)
    rows.change(database, table, event_id, lapses=2)
    rows.let_lease_end(database, table, event_id)
    with database.begin() as connection:
        assert events.bury_poison(connection) == 1
        assert events.bury_poison(connection) == 0
    found = rows.row(database, table, event_id)
    assert (found["status"], found["last_error"]) == ("dead", "poison")


@pytest.mark.parametrize(
    ("status", "delay", "failed", "error", "words"),
    [
        ("done", None, 0, None, "before"),
        ("pending", 30.0, 1, "unknown_cl", "unknown_cl"),
        ("dead", None, 1, "unknown_cl", "unknown_cl"),
    ],
)
def test_an_ending_becomes_the_state_of_the_event(
    database: Database, *, status: str, delay: float | None, failed: int, error: str | None, words: str
) -> None:
    event_id = put(database, last_error="before")
    ending = EventEnding(claim=claim_one(database).claim, status=status, delay=delay, failed=failed, error=error)
    assert record(database, ending) == {event_id}
    found = rows.row(database, table, event_id)
    assert (found["status"], found["failures"], found["last_error"]) == (status, failed, words)
    assert (found["due_at"] is None) == (found["finished_at"] is not None) == (delay is None)


@pytest.mark.parametrize("status", ["done", "dead"])
def test_a_late_worker_cannot_end_what_another_is_working_on(database: Database, status: str) -> None:
    event_id = put(database)
    late = claim_one(database)
    claim_lapsed(database, event_id)
    before = rows.row(database, table, event_id)
    assert record(database, EventEnding(claim=late.claim, status=status)) == set()
    assert rows.row(database, table, event_id) == before


def test_recording_nothing_asks_the_database_nothing(database: Database) -> None:
    with statements(database) as sent:
        assert record(database) == set()
    assert [one.sql for one in sent] == []


def test_events_are_loaded_by_their_ids(database: Database) -> None:
    wanted = [put(database), put(database)]
    put(database)
    with database.begin() as connection:
        found = events.load(connection, [*wanted, 0])
    assert {row_id: event.id for row_id, event in found.items()} == {row_id: row_id for row_id in wanted}
