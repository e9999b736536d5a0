"""Connections to PostgreSQL."""

from contextlib import closing

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, func, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError

from notify.store.database import UNAVAILABLE, Database
from notify.store.tables.people import people
from notify.store.urls import with_our_driver
from tests.support.servers import in_words


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_our_driver_is_used_whatever_the_url_says(scheme: str) -> None:
    url = with_our_driver(f"{scheme}://me:p%40ss@db.example:5433/notify?sslmode=require")
    assert url.drivername == "postgresql+psycopg"
    assert url == make_url("postgresql+psycopg://me:p%40ss@db.example:5433/notify?sslmode=require")


def test_a_missing_database_is_noticed_at_the_first_use_and_not_before() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing", connect_timeout_seconds=1)
    with pytest.raises(DBAPIError), database.begin():
        pytest.fail("connected to nothing")
    database.close()


def add_person(database: Database, username: str, *, email: str | None = None, failing: bool = False) -> None:
    with database.begin() as connection:
        connection.execute(insert(people).values(username=username, email=email))
        if failing:
            raise ZeroDivisionError


def test_a_block_that_succeeds_commits_and_one_that_raises_leaves_nothing(database: Database) -> None:
    add_person(database, "kept")
    with pytest.raises(ZeroDivisionError):
        add_person(database, "lost", failing=True)
    with database.begin() as connection:
        assert connection.scalars(select(people.c.username)).all() == ["kept"]


def test_a_session_uses_utc_and_has_timeouts(database: Database) -> None:
    with database.begin() as connection:
        told = {
            name: connection.scalar(select(func.current_setting(name)))
            for name in ("TimeZone", "statement_timeout", "idle_in_transaction_session_timeout", "application_name")
        }
    assert told == {
        "TimeZone": "UTC",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "1min",
        "application_name": "notify",
    }


def backend(database: Database) -> int | None:
    """The pid of the server process behind the pool's next connection."""
    with database.begin() as connection:
        return connection.scalar(select(func.pg_backend_pid()))


def end(pid: int | None, database: Database) -> None:
    """Terminate this server process."""
    with psycopg.connect(in_words(database.engine.url)) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


def test_a_pooled_connection_that_died_is_replaced(database: Database) -> None:
    with closing(Database(database.url, ping_after_seconds=0)) as pool:
        died = backend(pool)
        end(died, database)
        assert backend(pool) != died


def test_a_recently_used_connection_is_not_checked(database: Database) -> None:
    with closing(Database(database.url, ping_after_seconds=60)) as pool:
        died = backend(pool)
        end(died, database)
        with pytest.raises(UNAVAILABLE):
            backend(pool)
        assert backend(pool) != died


def in_transaction(connection: Connection) -> bool:
    connection.execute(text("SELECT 1"))
    driver = connection.connection.driver_connection
    return driver is not None and driver.info.transaction_status is TransactionStatus.INTRANS


def test_reading_opens_no_transaction_and_the_next_write_does(database: Database) -> None:
    with database.single() as connection:
        assert not in_transaction(connection)
    with database.begin() as connection:
        assert in_transaction(connection)


def test_an_error_does_not_contain_the_values_of_its_statement(database: Database) -> None:
    add_person(database, "alice")
    with pytest.raises(DBAPIError) as refused:
        add_person(database, "alice", email="alice@example.com")
    assert "alice@example.com" not in str(refused.value)
