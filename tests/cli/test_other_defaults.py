"""A database whose defaults are not PostgreSQL's: everything works as usual."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select

from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import UNAVAILABLE, Database
from notify.store.directory import directory
from notify.store.tables.emails import email_jobs
from tests.cli.conftest import Notify
from tests.support.defaults import DEFAULTS, defaults
from tests.support.harness import WorkerHarness, comment
from tests.support.race import blocked_session
from tests.support.smtp import ScriptedRelay

NEEDED = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "transaction_isolation": "read committed",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "search_path": "pg_catalog",
    "lock_timeout": "0",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "1min",
}
A_YEAR_LATER = """
    UPDATE notify.events
    SET (created_at, finished_at) = (created_at - interval '1 year', finished_at - interval '1 year');
    UPDATE notify.email_jobs
    SET (created_at, finished_at) = (created_at - interval '1 year', finished_at - interval '1 year')
"""
ALL_IS_WELL = {"database": True, "schema": True, "clock": True, "relay": True, "breaker": True}


@pytest.fixture(params=list(DEFAULTS.values()), ids=list(DEFAULTS))
def elsewhere(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    """The empty database with these defaults."""
    with defaults(database.url, request.param), closing(Database(database.url)) as opened:
        yield opened


def settings(database: Database) -> Mapping[str, str]:
    with database.begin() as connection:
        return {name: connection.scalar(select(func.current_setting(name))) or "" for name in NEEDED}


def test_our_sessions_have_the_settings_that_notify_needs(elsewhere: Database) -> None:
    told = settings(elsewhere)
    assert {**told, "DateStyle": told["DateStyle"].partition(",")[0]} == NEEDED


@pytest.mark.parametrize("elsewhere", [DEFAULTS["all there is"], DEFAULTS["other styles"]], indirect=True)
def test_an_email_is_emitted_sent_explained_watched_and_deleted_under_other_defaults(
    well: Notify, elsewhere: Database, relay: ScriptedRelay
) -> None:
    harness = WorkerHarness(elsewhere, relay.url)
    with elsewhere.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
    assert well("emit", "-", "--json", stdin=json.dumps(comment(reviewers=["ann"]))).json["accepted"] == 1
    harness.fan_out()
    assert harness.drain()["sent"] == 1

    assert well("explain", "k1", "ann", "--json").json["told"] is True
    (listed,) = well("jobs", "list", "--username", "ann", "--json").json
    assert datetime.now(UTC) - datetime.fromisoformat(listed["created_at"]) < timedelta(minutes=1)
    assert well("top", "--once", "--json").json["stages"]["deliver"]["due"] == 0
    assert {one["about"]: one["ok"] for one in well("doctor", "--json").json}.items() >= ALL_IS_WELL.items()
    for statement in A_YEAR_LATER.split(";"):
        harness.execute(statement)
    assert well("prune", "--json").json["jobs"] == 1
    assert harness.jobs() == []


def test_a_statement_that_waited_for_a_row_continues_with_its_newest_version(elsewhere: Database) -> None:
    with elsewhere.begin() as first, elsewhere.begin() as second, ThreadPoolExecutor(1) as threads:
        second.execute(select(func.now()))
        receive(first, [parse(comment(key="k1"))])
        waiting = threads.submit(receive, second, [parse(comment(key="k1")), parse(comment(key="k2"))])
        blocked_session(elsewhere)
        first.commit()
        assert [one.duplicate for one in waiting.result(30)] == [True, False]


def test_time_outs_in_the_urls_own_options_win(database: Database) -> None:
    url = f"{database.url}&options=-c%20statement_timeout%3D7s%20--work-mem%3D5MB%20-c%20timezone%3DAsia/Tokyo"
    with closing(Database(url)) as opened, opened.begin() as connection:
        told = [
            connection.scalar(select(func.current_setting(name)))
            for name in ("statement_timeout", "work_mem", "TimeZone", "lock_timeout")
        ]
    assert told == ["7s", "5MB", "UTC", "0"]


def test_a_read_only_default_is_respected_and_once_removed_everything_works(database: Database) -> None:
    with closing(Database(database.url)) as opened:
        with defaults(database.url, {"default_transaction_read_only": "on"}), pytest.raises(UNAVAILABLE):
            delete_all(opened)
        delete_all(opened)


def test_the_doctor_names_a_read_only_server(well: Notify, database: Database) -> None:
    with defaults(database.url, {"default_transaction_read_only": "on"}):
        assert [one["about"] for one in well("doctor", "--json").json if not one["ok"]] == ["writes"]
    assert [one["about"] for one in well("doctor", "--json").json if not one["ok"]] == []


def delete_all(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(delete(email_jobs))
