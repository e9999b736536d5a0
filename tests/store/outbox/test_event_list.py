"""Operators list events, and retry those that wait or are dead."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from notify.domain.outcomes import EventStatus
from notify.store.database import Database
from notify.store.outbox import event_list, items
from notify.store.outbox.event_list import EventFilter
from notify.store.tables.emails import events as table
from tests.support import rows
from tests.support.plans import indexes_read, plan_of, tables_scanned

MANY_DONE = """
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
    SELECT 'e' || n, 'cl.merged', 'CL-' || n % 1000, 'dana', 'done', now() FROM generate_series(10, 5000) AS n
"""
MANY_EMAILS_WAIT = """
    INSERT INTO notify.work_items (stage, id, lane) SELECT 'deliver', n, 1 FROM generate_series(1, 5000) AS n
"""


def put(database: Database, **columns: object) -> int:
    with database.begin() as connection:
        return rows.event(connection, **columns)


@pytest.fixture
def by_status(database: Database) -> dict[str, int]:
    """An event waiting for the directory, a new one, one being fanned out, and two that ended."""
    return {
        "waits": put(database, key="waits", topic="CL-9", last_error="unknown_topic", due_at=rows.ago(hours=-1)),
        "new": put(database, key="new"),
        "working": put(database, key="working", status="working"),
        "dead": put(database, key="dead", **rows.ended("dead"), last_error="unknown_topic", failures=10),
        "done": put(database, key="done", **rows.ended("done")),
    }


@pytest.mark.usefixtures("by_status")
@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (EventFilter(), ["done", "dead", "working", "new", "waits"]),
        (EventFilter(status=EventStatus.PENDING), ["new", "waits"]),
        (EventFilter(status=EventStatus.WORKING), ["working"]),
        (EventFilter(status=EventStatus.DEAD), ["dead"]),
        (EventFilter(status=EventStatus.DONE), ["done"]),
        (EventFilter(reason="unknown_topic"), ["dead", "waits"]),
        (EventFilter(reason="unknown_topic", status=EventStatus.PENDING), ["waits"]),
        (EventFilter(topic="CL-9"), ["waits"]),
        (EventFilter(keys=["done", "new", "none"]), ["done", "new"]),
    ],
)
def test_events_are_listed_newest_first_and_filtered(database: Database, wanted: EventFilter, keys: list[str]) -> None:
    with database.begin() as connection:
        found = event_list.newest(connection, wanted, limit=10)
        pages = [event_list.newest(connection, wanted, limit=1)]
        while pages[-1]:
            pages.append(event_list.newest(connection, wanted, below=pages[-1][0].id, limit=1))
    assert [one.key for one in found] == keys
    assert [one for page in pages for one in page] == found


def test_a_listed_event_has_what_it_waits_for_and_until_when(database: Database, by_status: dict[str, int]) -> None:
    with database.begin() as connection:
        found = {one.key: one for one in event_list.newest(connection, EventFilter(), limit=10)}
        now = connection.scalar(select(func.now()))
    assert now is not None
    assert (found["waits"].status, found["waits"].reason) == ("pending", "unknown_topic")
    assert found["waits"].due_at is not None
    assert found["waits"].due_at > now
    assert (found["working"].status, found["dead"].due_at, found["done"].due_at) == ("working", None, None)
    assert found["dead"].id == by_status["dead"]


def test_a_waiting_or_dead_event_can_be_made_due_and_keeps_its_history(
    database: Database, by_status: dict[str, int]
) -> None:
    with database.begin() as connection:
        retried = event_list.retry(connection, list(by_status.values()))
    assert retried == sorted(by_status[name] for name in ("waits", "new", "dead"))
    item = rows.item_of(database, "fan_out", by_status["dead"])
    assert item is not None
    assert (item["lane"], item["failures"], item["max_failures"]) == (1, 10, 20)
    assert rows.row(database, table, by_status["dead"])["status"] == "pending"
    with database.begin() as connection:
        assert items.due_items(connection, "fan_out").any
        due = items.claim(connection, "fan_out", limit=9, lease=timedelta(seconds=9), worker=UUID(int=2))
    assert {one.id for one in due} == set(retried)


def test_a_dead_event_without_text_is_not_retried(database: Database) -> None:
    emptied = put(database, **rows.ended("dead"), last_error="poison", emptied_at=func.now())
    with database.begin() as connection:
        assert event_list.retry(connection, [emptied]) == []
    assert rows.row(database, table, emptied)["status"] == "dead"


def test_an_event_that_killed_its_workers_is_retried_alone(database: Database) -> None:
    poison = put(database, **rows.ended("dead"), last_error="poison", lapses=3)
    with database.begin() as connection:
        assert event_list.retry(connection, [poison]) == [poison]
        claim = items.claim_lapsed(connection, "fan_out", lease=timedelta(seconds=9), worker=UUID(int=2))
    assert claim is not None
    assert claim.id == poison


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EventFilter(), "events_pkey"),
        (EventFilter(status=EventStatus.PENDING), "work_items_due"),
        (EventFilter(reason="unknown_topic"), "work_items_due"),
        (EventFilter(topic="CL-9"), "events_topic"),
        (EventFilter(keys=["waits"]), "events_key_key"),
    ],
)
def test_events_are_listed_by_an_index(database: Database, wanted: EventFilter, index: str) -> None:
    with database.begin() as connection:
        connection.execute(text(MANY_DONE))
        connection.execute(text(MANY_EMAILS_WAIT))
        rows.event(connection, key="waits", topic="CL-9", last_error="unknown_topic")
        connection.execute(text("ANALYZE notify.events, notify.work_items"))
        plan = plan_of(database, connection, lambda: event_list.newest(connection, wanted, limit=10))
    assert index in indexes_read(plan)
    assert "events" not in tables_scanned(plan)
