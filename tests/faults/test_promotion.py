"""A replica takes the place of its primary: workers and applications go on there, and nothing is lost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.support.office import many
from tests.support.replica import Pair, pair
from tests.support.scene import Scene
from tests.support.scene import scene as a_scene
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

PEOPLE, EVENTS = 10, 20
CHARGED = "SELECT count(*) FROM jobs WHERE failures > 0 OR lapses > 0"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Pair]:
    with pair(tmp_path / "pair") as running:
        upgrade(running.url)
        yield running


@contextmanager
def scene_on(servers: Pair, environment: Mapping[str, str], relay: ScriptedRelay, folder: Path) -> Iterator[Scene]:
    with (
        closing(Database(servers.url)) as database,
        a_scene(database, {**environment, "NOTIFY_DATABASE_URL": servers.url}, relay, folder) as scene,
    ):
        yield scene


def gone(servers: Pair) -> None:
    """The primary ends with every connection to it."""
    servers.first.stop()


def read_only(servers: Pair) -> None:
    """The primary goes on to answer, and takes no writes."""
    servers.forbid_writes()


@pytest.mark.parametrize("falls", [gone, read_only])
def test_workers_and_emit_go_on_at_the_replica_and_nothing_is_lost_and_nobody_charged(
    falls: Callable[[Pair], None],
    servers: Pair,
    environment: Mapping[str, str],
    relay: ScriptedRelay,
    tmp_path: Path,
) -> None:
    with scene_on(servers, environment, relay, tmp_path) as scene:
        people = many(PEOPLE)
        scene.producer.employ(people)
        with scene.worker(bundle_seconds="0", lease_seconds="30"):
            for _ in range(EVENTS):
                scene.producer.emit(*people)
            relay.wait_for(EVENTS * PEOPLE // 4)
            falls(servers)
            scene.producer.emit(*people)
            servers.promote()
            until(lambda: scene.producer.emit(*people).committed)
            scene.until_all_ended(seconds=90)

        assert scene.check().lost == 0
        assert scene.office().now(CHARGED) == [(0,)]
        assert len(relay.letters) >= (EVENTS + 1) * PEOPLE
        assert scene.office().now("SELECT inet_server_addr() IS NULL AND pg_is_in_recovery()") == [(False,)]
