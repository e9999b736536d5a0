"""What PostgreSQL is asked about itself."""

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


def test_a_transaction_that_keeps_its_snapshot_is_as_old_as_it_is(database: Database) -> None:
    assert oldest(database) == 0
    with open_transaction(database, isolation="REPEATABLE READ"):
        younger = oldest(database)
        assert 0 < younger < oldest(database)
    assert oldest(database) == 0


def test_a_transaction_without_a_snapshot_keeps_nobody_from_cleaning_up(database: Database) -> None:
    with open_transaction(database, isolation="READ COMMITTED"):
        assert oldest(database) == 0


def test_the_tables_that_change_all_the_time_are_told_of(database: Database) -> None:
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
