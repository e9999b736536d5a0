"""Events in the table: loading them, and ending them."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from notify.store.database import Database
from notify.store.outbox import events
from notify.store.tables.emails import events as table
from tests.support import rows
from tests.support.statements import statements

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def put(database: Database, **columns: object) -> int:
    with database.begin() as connection:
        return rows.event(connection, **columns)


def test_events_are_loaded_by_their_ids(database: Database) -> None:
    wanted = [put(database), put(database)]
    put(database)
    with database.begin() as connection:
        found = events.load(connection, [*wanted, 0])
    assert {row_id: event.id for row_id, event in found.items()} == {row_id: row_id for row_id in wanted}


def test_a_loaded_event_has_everything_that_was_stored(database: Database) -> None:
    event_id = put(database, key="k1", actor="dana", occurred_at=NOON, payload={"comment": {"body": "é"}})
    with database.begin() as connection:
        found = events.load(connection, [event_id])[event_id]
    assert (found.id, found.key, found.actor) == (event_id, "k1", "dana")
    assert (found.occurred_at, found.payload) == (NOON, {"comment": {"body": "é"}})


def test_an_event_ends_only_when_told_to(database: Database) -> None:
    ended, waits = put(database), put(database)
    with database.begin() as connection:
        events.end(connection, [ended], "dead")
        now = connection.scalar(select(func.now()))
    assert rows.row(database, table, ended)["status"] == "dead"
    assert rows.row(database, table, ended)["finished_at"] == now
    assert rows.row(database, table, waits)["status"] == "pending"


def test_ending_no_events_runs_no_statement(database: Database) -> None:
    with statements(database) as sent, database.begin() as connection:
        events.end(connection, [], "done")
    assert sent == []
