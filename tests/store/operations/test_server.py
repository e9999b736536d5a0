"""PostgreSQL's own state."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from notify.store.database import Database
from notify.store.operations import server


@contextmanager
def open_transaction(database: Database, *, isolation: str) -> Iterator[None]:
    with database.engine.connect().execution_options(isolation_level=isolation) as connection:
        connection.execute(text("SELECT count(*) FROM notify.events"))
        yield


def oldest(database: Database) -> float:
    with database.begin() as connection:
        return server.oldest_snapshot_seconds(connection)


def test_a_transaction_with_a_snapshot_is_reported_with_its_age(database: Database) -> None:
    assert oldest(database) == 0
    with open_transaction(database, isolation="REPEATABLE READ"):
        younger = oldest(database)
        assert 0 < younger < oldest(database)
    assert oldest(database) == 0


def test_a_transaction_without_a_snapshot_does_not_hold_back_vacuum(database: Database) -> None:
    with open_transaction(database, isolation="READ COMMITTED"):
        assert oldest(database) == 0


def test_the_frequently_updated_tables_are_reported(database: Database) -> None:
    with database.begin() as connection:
        assert {table.name for table in server.hot_tables(connection)} == {
            "work_items",
            "notifications",
            "bundles",
            "events",
            "email_jobs",
            "email_attempts",
            "delivery_stats",
        }
