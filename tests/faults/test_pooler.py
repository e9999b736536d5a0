"""A real PgBouncer in front of the database, in transaction mode: everything works, and no session is left changed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from notify.api.app import create_app
from notify.cli.commands import command_line
from notify.embedded.ports import LOOPBACK
from notify.store.database import Database
from notify.store.operations import migrate
from tests.migrations.test_migrations import upgrade_in_a_process_of_its_own
from tests.support.defaults import DEFAULTS, defaults
from tests.support.fault_scenario import FaultScenario
from tests.support.in_process import InProcess
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer, pgbouncer
from tests.support.proxy import CommitAfter, Proxy, through
from tests.support.race import all_at_once
from tests.support.smtp import DOT, ScriptedRelay
from tests.support.wait import until

pytestmark = needs_pgbouncer
STATED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path", "datestyle")
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
OLD = """
    UPDATE notify.email_jobs SET created_at = now() - interval '1 year', finished_at = now() - interval '1 year'
    WHERE finished_at IS NOT NULL
"""
TWO_LEASES_LATER = "SELECT now() > max(created_at) + interval '4 seconds' FROM notify.email_jobs"


@pytest.fixture
def pooler(database_url: str) -> Iterator[PgBouncer]:
    with pgbouncer(database_url) as running:
        yield running


@pytest.fixture
def pooled(scenario: FaultScenario, pooler: PgBouncer) -> Iterator[FaultScenario]:
    """A scenario whose producer and workers know only the pooler."""
    url = pooler.through(scenario.environment["NOTIFY_DATABASE_URL"])
    scenario.environment["NOTIFY_DATABASE_URL"] = url
    with closing(Database(url)) as opened:
        scenario.producer.database = opened
        yield scenario


def session(url: str) -> Mapping[str, str]:
    """The settings that another application finds in a shared session."""
    with psycopg.connect(url, prepare_threshold=None) as other:
        return {name: other.execute(f"SHOW {name}").fetchall()[0][0] for name in STATED}


@pytest.mark.usefixtures("restored_logging")
def test_emails_flow_and_all_commands_work_through_a_pooler_and_no_session_is_left_changed(
    pooled: FaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in pooled.environment.items():
        monkeypatch.setenv(name, value)
    url = pooled.environment["NOTIFY_DATABASE_URL"]
    with defaults(pooled.database.url, DEFAULTS["all there is"]):
        before = session(url)
        with pooled.worker():
            pooled.emit("ann", "bob")
            pooled.until_all_ended()
        assert pooled.check().repeated == 0
        assert answer("explain", pooled.producer.log[0].key, "ann")["told"] is True
        assert answer("top", "--once")["wrong"] == []
        assert {one["about"]: one["ok"] for one in answer("doctor")}.items() >= {("pooler", True), ("schema", True)}
        pooled.harness().execute(OLD)
        assert answer("prune")["jobs"] > 0
        with httpx.Client(transport=InProcess(create_app()), base_url="http://notify.test") as api:
            assert [api.get(path).status_code for path in ("/readyz", "/metrics")] == [200, 200]
        assert session(url) == before
    assert pooled.harness().execute("SELECT count(*) FROM notify.email_jobs") == [(0,)]


def answer(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(command_line(), [*arguments, "--json"]).stdout)


def test_two_concurrent_migrations_both_succeed_and_leave_no_lock_and_no_setting_behind(
    pooler: PgBouncer, unmigrated_database_url: str
) -> None:
    url = pooler.through(unmigrated_database_url)
    before = session(url)
    all_at_once([partial(upgrade_in_a_process_of_its_own, url)] * 2)
    with closing(Database(url)) as opened, opened.begin() as connection:
        assert migrate.current(connection) == migrate.head()
        assert connection.scalar(text(LOCKS)) == 0
    assert session(url) == before


def test_an_outcome_whose_commit_was_not_acknowledged_through_a_pooler_is_counted_once(
    pooled: FaultScenario, pooler: PgBouncer
) -> None:
    url = pooled.environment["NOTIFY_DATABASE_URL"]
    with Proxy((LOOPBACK, pooler.port)) as line:
        pooled.environment["NOTIFY_DATABASE_URL"] = through(line, url)
        line.cut_the_reply_to(CommitAfter(b"delivery_stats"))
        with pooled.bare_worker():
            pooled.emit("ann")
            pooled.until_all_ended()
            assert line.sprung.wait(60)
    assert pooled.check().repeated == 0
    assert pooled.tables().attempt_outcomes == {"sent": 1}


def test_a_pooler_outage_costs_no_email_an_attempt(
    pooled: FaultScenario, pooler: PgBouncer, relay: ScriptedRelay
) -> None:
    on_its_way = relay.pause_at(DOT)
    with pooled.bare_worker():
        pooled.emit("ann")
        on_its_way.wait_until_reached()
        pooler.stop()
        on_its_way.release()
        until(lambda: pooled.harness().execute(TWO_LEASES_LATER) == [(True,)])
        pooler.start()
        pooled.until_all_ended(seconds=90)
    assert pooled.check().repeated == 0
    assert pooled.harness().execute("SELECT DISTINCT failures, lapses FROM jobs WHERE status <> 'skipped'") == [(0, 0)]
