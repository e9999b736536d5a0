"""The broker carries doorbells only: whatever happens to it, emails arrive, and nobody waits for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from time import monotonic

import pytest
import redis

from notify import wiring
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from notify.wiring import STAGE_NAMES
from tests.support.fault_scenario import FaultScenario
from tests.support.proxy import Flow, Proxy
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

# Who waits for a broker waits for its time-out, a second; a busy machine alone can take a tenth of one.
LONGEST_CALL_SECONDS = 0.5
ANSWERED = "succeeded in"
Trouble = Callable[["Broker"], None]


class Broker:
    """A test's own broker, and the proxy in front of it."""

    def __init__(self, server: ValkeyServer, line: Proxy) -> None:
        self.server = server
        self.line = line

    def flush(self) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            client.flushall()

    def stop(self) -> None:
        self.server.stop()
        self.line.reset()

    def freeze(self) -> None:
        assert self.server.process is not None
        self.server.process.send_signal(SIGSTOP)

    def fill(self) -> None:
        """Only a test's own broker: an external one is not ours to fill."""
        with redis.Redis.from_url(self.server.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)

    def swallow(self) -> None:
        self.line.block(*Flow)

    def mend(self) -> None:
        """So that it can be stopped normally."""
        if self.server.process is not None:
            self.server.process.send_signal(SIGCONT)
        self.line.heal()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that can be broken, behind a proxy that can be cut."""
    with ValkeyServer(tmp_path / "broker") as server, Proxy(("127.0.0.1", server.port)) as line:
        made = Broker(server, line)
        yield made
        made.mend()


@pytest.fixture
def doorbell(broker: Broker) -> Doorbell:
    """A producer's doorbell."""
    return wiring.doorbell(Settings(broker_url=broker.line.broker_url))


@pytest.mark.parametrize(
    "trouble",
    [Broker.flush, Broker.stop, Broker.freeze, Broker.fill, Broker.swallow],
    ids=["flushed", "stopped", "paused", "full", "black hole"],
)
def test_emails_arrive_whatever_happens_to_the_broker_and_no_producer_waits_for_it(
    scenario: FaultScenario, broker: Broker, doorbell: Doorbell, trouble: Trouble
) -> None:
    scenario.environment["NOTIFY_BROKER_URL"] = broker.line.broker_url
    scenario.producer.doorbell = doorbell
    scenario.producer.add_people(["ann", "bob"])
    with scenario.worker():
        scenario.producer.emit("ann")
        scenario.until_all_ended()

        trouble(broker)
        began = monotonic()
        doorbell.ring(FAN_OUT)
        waited = monotonic() - began
        scenario.producer.emit("bob")
        scenario.until_all_ended()

    assert scenario.check().repeated == 0
    assert waited < LONGEST_CALL_SECONDS


def test_duplicate_early_and_missing_doorbells_change_nothing(
    scenario: FaultScenario, broker: Broker, doorbell: Doorbell
) -> None:
    scenario.environment["NOTIFY_BROKER_URL"] = broker.line.broker_url
    scenario.producer.add_people(["ann", "bob", "cy"])
    with scenario.worker():
        ring_often(doorbell)
        scenario.producer.emit("ann")
        ring_often(doorbell)
        scenario.producer.emit("bob")
        ring_often(doorbell)
        broker.flush()
        scenario.producer.emit("cy")
        scenario.until_all_ended()

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"sent": 3}


def test_emails_arrive_even_if_the_doorbell_rings_before_the_commit_and_the_next_one_is_lost(
    scenario: FaultScenario, relay: ScriptedRelay, broker: Broker, doorbell: Doorbell
) -> None:
    scenario.environment["NOTIFY_BROKER_URL"] = broker.line.broker_url
    scenario.producer.add_people(["ann"])
    with scenario.worker() as running:

        def ring_too_early() -> None:
            before = running.log.read_text().count(ANSWERED)
            ring_often(doorbell)
            until(lambda: running.log.read_text().count(ANSWERED) >= before + 2 * len(STAGE_NAMES))
            assert relay.connections == 0

        scenario.producer.emit("ann", before_the_end=ring_too_early)
        scenario.until_all_ended()

    assert scenario.check().repeated == 0
    assert scenario.tables().attempt_outcomes == {"sent": 1}


def ring_often(doorbell: Doorbell) -> None:
    """Three messages for each stage; rings closer together than a flush would be one."""
    for _ in range(3):
        for stage in STAGE_NAMES:
            doorbell.ring(stage)
        doorbell.flush(at_most_seconds=5)
