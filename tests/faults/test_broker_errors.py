"""A broker that answers with an error counts as down: workers keep sending, and reconnect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGTERM

import pytest
import redis

from notify import wiring
from notify.domain.ports import Doorbell
from notify.domain.stages import DELIVER
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from tests.support import fork_server
from tests.support.fault_scenario import FaultScenario
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker

LOST = "Connection to broker lost"
CONSUMES = " ready."
BEATS_MILLISECONDS = 4_500
NEEDED = ("brpop", "lpush", "sadd", "publish", "psubscribe", "ping")


@dataclass(frozen=True, slots=True)
class Broker:
    """A test's own broker, and a client whose connection survives whatever it refuses to others."""

    server: ValkeyServer
    client: redis.Redis

    @property
    def url(self) -> str:
        return self.server.url

    def cut(self) -> None:
        """Close every other connection, so that everybody must reconnect."""
        for kind in ("normal", "pubsub"):
            self.client.client_kill_filter(_type=kind, skipme=True)

    def refused_for(self, command: str) -> float:
        """For how many milliseconds it has kept refusing this command to anybody; -1 if it never did."""
        spans = (
            float(str(one["timestamp-last-updated"])) - float(str(one["timestamp-created"]))
            for one in self.client.acl_log()
            if one["object"] == command
        )
        return max(spans, default=-1)


class Lost:
    """Trouble with a broker, and how it ends; this one only loses its connections."""

    def begin(self, broker: Broker) -> None:
        broker.cut()

    def end(self, broker: Broker) -> None:
        """Undo it."""

    def __repr__(self) -> str:
        return type(self).__name__


class ReadOnly(Lost):
    """READONLY: it has become a replica of a primary that does not exist."""

    def begin(self, broker: Broker) -> None:
        broker.client.replicaof("127.0.0.1", 1)

    def end(self, broker: Broker) -> None:
        broker.client.replicaof("NO", "ONE")


class NoReplicas(Lost):
    def begin(self, broker: Broker) -> None:
        broker.client.config_set("min-replicas-to-write", 1)

    def end(self, broker: Broker) -> None:
        broker.client.config_set("min-replicas-to-write", 0)


class NoSnapshot(Lost):
    """MISCONF, even to PING: there is a folder where its snapshot should be."""

    def begin(self, broker: Broker) -> None:
        (broker.server.folder / "dump.rdb").mkdir(exist_ok=True)
        broker.client.config_set("save", "3600 1")
        broker.client.bgsave()
        until(lambda: broker.client.info("persistence")["rdb_last_bgsave_status"] == "err")

    def end(self, broker: Broker) -> None:
        broker.client.config_set("save", "")


class NotPermitted(Lost):
    """NOPERM, even to PING."""

    def begin(self, broker: Broker) -> None:
        broker.client.acl_setuser("default", enabled=True, nopass=True, commands=[f"-{name}" for name in NEEDED])

    def end(self, broker: Broker) -> None:
        broker.client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"])


class Full(Lost):
    """OOM, which occurs on connecting."""

    def begin(self, broker: Broker) -> None:
        broker.client.config_set("maxmemory-policy", "noeviction")
        broker.client.config_set("maxmemory", 1)
        broker.cut()

    def end(self, broker: Broker) -> None:
        broker.client.config_set("maxmemory", 0)


class NewPassword(Lost):
    """NOAUTH: it now requires a password."""

    def begin(self, broker: Broker) -> None:
        broker.client.config_set("requirepass", "another")
        broker.cut()

    def end(self, broker: Broker) -> None:
        broker.client.config_set("requirepass", "")


@pytest.fixture
def broker(scenario: FaultScenario, tmp_path: Path) -> Iterator[Broker]:
    """The scenario's broker."""
    with ValkeyServer(tmp_path / "broker") as server, redis.Redis.from_url(server.url, max_connections=1) as client:
        client.ping()
        scenario.environment["NOTIFY_BROKER_URL"] = server.url
        yield Broker(server, client)
        client.config_set("save", "")  # a failing save would keep it from stopping


@pytest.fixture
def doorbell(broker: Broker) -> Doorbell:
    """A producer's doorbell that has been used."""
    bell = wiring.doorbell(Settings(_env_file=None, broker_url=broker.url))
    bell.ring(DELIVER)
    bell.flush(at_most_seconds=10)
    return bell


def until_noticed(running: RunningWorker, action: Callable[[], None]) -> None:
    """Return when the worker has lost its connection through this action, or has ended."""
    before = running.log.read_text().count(LOST)
    action()
    until(lambda: running.log.read_text().count(LOST) > before or running.process.poll() is not None)


@pytest.mark.parametrize(
    "trouble",
    [
        Lost(),
        ReadOnly(),
        pytest.param(NoReplicas(), marks=pytest.mark.slow),  # refuses writes, as ReadOnly does
        NoSnapshot(),
        pytest.param(NotPermitted(), marks=pytest.mark.slow),  # refuses PING too, as NoSnapshot does
        Full(),
        NewPassword(),
    ],
    ids=repr,
)
def test_a_worker_survives_broker_errors_idle_and_busy_and_hears_doorbells_again(
    scenario: FaultScenario, relay: ScriptedRelay, broker: Broker, doorbell: Doorbell, trouble: Lost
) -> None:
    scenario.producer.add_people(["ann", "bob", "cy"])
    # While one process sends, the other's place has the worker ask the broker.
    with scenario.worker(processes=2) as running:
        running.wait_until_doorbells_arrive(doorbell)
        until_noticed(running, partial(trouble.begin, broker))
        scenario.producer.emit("ann")
        scenario.until_all_ended()
        trouble.end(broker)
        running.wait_until_doorbells_arrive(doorbell)

        gate = relay.pause_at("DOT")
        scenario.producer.doorbell = doorbell
        scenario.producer.emit("bob")
        until(lambda: relay.count("DOT") == 2)
        until_noticed(running, partial(trouble.begin, broker))
        gate.release()
        scenario.producer.emit("cy")
        scenario.until_all_ended()
        assert running.process.poll() is None
        assert running.stop() == 0

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"sent": 3}


@pytest.mark.slow
def test_a_worker_whose_heartbeats_are_refused_stops_when_told_to(
    scenario: FaultScenario, broker: Broker, doorbell: Doorbell
) -> None:
    with scenario.worker() as running:
        running.wait_until_doorbells_arrive(doorbell)
        refused = [f"-{name}" for name in NEEDED if name != "brpop"]
        broker.client.acl_setuser("default", enabled=True, nopass=True, commands=refused)
        until(lambda: broker.refused_for("ping") >= 0 or broker.refused_for("publish") > BEATS_MILLISECONDS)
        assert running.stop() == 0


def test_a_worker_started_on_a_failing_broker_sends_at_once_and_consumes_later(
    scenario: FaultScenario, broker: Broker, doorbell: Doorbell, tmp_path: Path
) -> None:
    Full().begin(broker)
    scenario.producer.add_people(["ann"])
    with worker(scenario.environment, tmp_path, processes=1, start=fork_server.start) as running:
        running.wait_until_ready()
        scenario.producer.emit("ann")
        scenario.until_all_ended()
        assert CONSUMES not in running.log.read_text()

        Full().end(broker)
        running.wait_until_doorbells_arrive(doorbell)

    assert scenario.tables().attempt_outcomes == {"sent": 1}


def test_beat_survives_broker_errors_at_its_start_and_later_and_sends_again_afterwards(
    scenario: FaultScenario, broker: Broker, tmp_path: Path
) -> None:
    log, trouble = tmp_path / "beat.log", NoSnapshot()
    trouble.begin(broker)
    options = ("-A", "tests.support.frequent_beat", "beat", "-s", str(tmp_path / "schedule"))
    log.touch()
    beat = fork_server.start("celery", *options, environment=scenario.environment, log=log)
    try:
        until(lambda: "Connection error" in log.read_text())
        trouble.end(broker)
        until(lambda: broker.client.llen("notify.upkeep"))
        trouble.begin(broker)
        until(lambda: "Message Error" in log.read_text())
        trouble.end(broker)
        sent = broker.client.llen("notify.upkeep")
        until(lambda: broker.client.llen("notify.upkeep") != sent)
        assert beat.poll() is None
    finally:
        beat.send_signal(SIGTERM)
        beat.wait(20)
