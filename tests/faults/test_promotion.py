"""A replica replaces its primary: workers and applications continue there, and nothing is lost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.support.fault_scenario import FaultScenario, fault_scenario
from tests.support.harness import usernames
from tests.support.replica import ReplicatedPostgres, replicated_postgres
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

PEOPLE, EVENTS = 10, 20
CHARGED = "SELECT count(*) FROM jobs WHERE failures > 0 OR lapses > 0"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ReplicatedPostgres]:
    with replicated_postgres(tmp_path / "pair") as running:
        upgrade(running.url)
        yield running


@contextmanager
def scenario_on(
    servers: ReplicatedPostgres, environment: Mapping[str, str], relay: ScriptedRelay, folder: Path
) -> Iterator[FaultScenario]:
    with (
        closing(Database(servers.url)) as database,
        fault_scenario(database, {**environment, "NOTIFY_DATABASE_URL": servers.url}, relay, folder) as scenario,
    ):
        yield scenario


def gone(servers: ReplicatedPostgres) -> None:
    """The primary stops, with every connection to it."""
    servers.first.stop()


def read_only(servers: ReplicatedPostgres) -> None:
    """The primary still answers, but accepts no writes."""
    servers.forbid_writes()


@pytest.mark.parametrize("falls", [pytest.param(gone, marks=pytest.mark.slow), read_only])
def test_workers_and_emit_continue_on_the_replica_and_nothing_is_lost_or_charged(
    falls: Callable[[ReplicatedPostgres], None],
    servers: ReplicatedPostgres,
    environment: Mapping[str, str],
    relay: ScriptedRelay,
    tmp_path: Path,
) -> None:
    with scenario_on(servers, environment, relay, tmp_path) as scenario:
        people = usernames(PEOPLE)
        scenario.producer.add_people(people)
        with scenario.worker(processes=2, bundle_seconds="0", lease_seconds="30"):
            for _ in range(EVENTS):
                scenario.producer.emit(*people)
            relay.wait_for(EVENTS * PEOPLE // 4)
            falls(servers)
            scenario.producer.emit(*people)
            servers.promote()
            until(lambda: scenario.producer.emit(*people).committed)
            scenario.until_all_ended(seconds=90)

        assert scenario.check().lost == 0
        assert scenario.harness().execute(CHARGED) == [(0,)]
        assert len(relay.emails) >= (EVENTS + 1) * PEOPLE
        assert scenario.harness().execute("SELECT inet_server_addr() IS NULL AND pg_is_in_recovery()") == [(False,)]
