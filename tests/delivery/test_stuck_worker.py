"""Heartbeats of the engine and the sweeper tell a stuck worker from a waiting one."""

from random import Random
from threading import Event
from uuid import uuid4

from notify import wiring
from notify.domain.measures import Measure
from notify.store.database import Database
from notify.work.sweeper import LONGEST_QUERY_SECONDS, LONGEST_WORK_SECONDS, Sweeper
from tests.support.doorbell import RecordingDoorbell
from tests.support.harness import WorkerHarness
from tests.support.proxy import Proxy, database_target, through
from tests.support.race import meanwhile
from tests.support.smtp import ScriptedRelay
from tests.support.stages import FakeStage
from tests.support.wait import until

SECONDS = 0.01
A_WHILE_SECONDS = 0.3


def test_an_engine_whose_event_loop_is_blocked_sends_no_heartbeat(harness: WorkerHarness) -> None:
    harness.pending_emails("ann")
    heard: list[str] = []
    go_on = Event()

    def stand_still(measure: Measure, *_: object, **__: object) -> None:
        if measure is Measure.TO_SENT:
            heard.append("blocked")
            go_on.wait(A_WHILE_SECONDS)
            heard.append("running")

    harness.count = stand_still
    with harness.engine() as engine:
        engine.every(SECONDS, lambda: heard.append("alive"))
        until(lambda: heard.count("alive") > 1)
        engine.drain()
        after = len(heard)
        until(lambda: len(heard) > after)

    began, ended = heard.index("blocked"), heard.index("running")
    assert ended == began + 1
    assert set(heard[:began]) == set(heard[ended + 1 :]) == {"alive"}


def test_a_drain_keeps_its_heartbeat_during_a_database_outage(
    database: Database, database_url: str, relay: ScriptedRelay
) -> None:
    """It has outcomes to record: killing it would send emails twice."""
    with Proxy(database_target(database_url)) as line:
        far = Database(through(line, database.url), connect_timeout_seconds=1)
        harness = WorkerHarness(far, relay.url)
        harness.pending_emails("ann")
        moves: list[int] = []
        engine = wiring.engine(
            harness.settings, far, doorbell=RecordingDoorbell(), worker=uuid4(), promise=lambda *_: moves.append(1)
        )
        gate = relay.pause_at("DOT")
        with meanwhile(engine.drain) as draining:
            gate.wait_until_reached()
            line.refuse()
            try:
                gate.release()
                relay.wait_for(1)
                before = len(moves)
                until(lambda: len(moves) > before + 2)
            finally:
                line.heal()
        assert draining.result(0)["sent"] == 1
        engine.stop()
        far.close()


def test_a_sweeper_promises_its_next_heartbeat_while_idle_and_at_work() -> None:
    promises: list[tuple[str, float]] = []
    worked = Event()
    stage = FakeStage("deliver", lambda: not worked.is_set(), worked.set)
    sweeper = Sweeper(
        [stage], seconds=SECONDS, rng=Random(1), promise=lambda part, seconds: promises.append((part, seconds))
    )
    sweeper.start()
    assert worked.wait(60)
    until(lambda: len(promises) > 3)
    sweeper.stop(timeout_seconds=10)

    look, work = ("deliver", LONGEST_QUERY_SECONDS + 2 * SECONDS), ("deliver", LONGEST_WORK_SECONDS)
    assert promises[:3] == [look, work, look]
    assert set(promises[3:]) == {look}
