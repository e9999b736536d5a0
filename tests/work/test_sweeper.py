"""The sweeper finds work without a doorbell, and survives whatever a stage does."""

from collections.abc import Callable
from random import Random
from threading import Event

from notify.domain.measures import Measure
from notify.store.database import Database
from notify.work.stage import Stage
from notify.work.sweeper import Sweeper
from tests.support.harness import WorkerHarness
from tests.support.recording_count import RecordingCount
from tests.support.smtp import ScriptedRelay
from tests.support.stages import FakeStage
from tests.support.wait import until


def sweeping(*stages: Stage) -> Sweeper:
    """A sweeper with a short interval."""
    return Sweeper(stages, seconds=0.01, rng=Random(1))


def once(event: Event) -> Callable[[], bool]:
    """Due until the event is set."""
    return lambda: not event.is_set()


def test_emails_are_sent_without_any_doorbell(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann", "bob")
    with harness.engine() as engine:
        sweeper = sweeping(engine)
        sweeper.start()
        relay.wait_for(2)
        sweeper.stop(timeout_seconds=10)

    assert {job.status for job in harness.jobs() if job.to_email} == {"sent"}


def test_a_failing_stage_stops_neither_the_others_nor_the_next_sweep() -> None:
    failed_twice, other_done = Event(), Event()
    failures: list[int] = []

    def fail() -> None:
        failures.append(1)
        if len(failures) == 2:
            failed_twice.set()
        raise RuntimeError

    sweeper = sweeping(
        FakeStage("broken", once(failed_twice), fail), FakeStage("other", once(other_done), other_done.set)
    )
    sweeper.start()

    assert failed_twice.wait(60)
    assert other_done.wait(60)
    sweeper.stop(timeout_seconds=10)


def test_a_slow_stage_delays_no_other() -> None:
    held_up, release, other_done = Event(), Event(), Event()

    def wait() -> None:
        held_up.set()
        release.wait(60)

    sweeper = sweeping(FakeStage("slow", once(held_up), wait), FakeStage("other", once(other_done), other_done.set))
    sweeper.start()

    assert held_up.wait(60)
    assert other_done.wait(60)
    release.set()
    sweeper.stop(timeout_seconds=10)


def test_a_stage_with_nothing_due_is_not_drained() -> None:
    asked, worked = Event(), Event()

    def nothing_due() -> bool:
        asked.set()
        return False

    sweeper = sweeping(FakeStage("idle", nothing_due, worked.set))
    sweeper.start()
    assert asked.wait(60)
    sweeper.stop(timeout_seconds=10)

    assert not worked.is_set()


def test_sweeps_are_counted_and_so_are_those_that_found_work() -> None:
    counted, found = RecordingCount(), Event()
    sweeper = Sweeper([FakeStage("deliver", once(found), found.set)], seconds=0.01, rng=Random(1), count=counted.note)
    sweeper.start()
    assert found.wait(60)
    until(lambda: counted.of(Measure.SWEEP)["deliver"] > 1)
    sweeper.stop(timeout_seconds=10)

    assert counted.of(Measure.SWEEP_FOUND) == {"deliver": 1}


def test_a_woken_stage_is_swept_at_once_and_no_other() -> None:
    woken, slept = Event(), Event()
    stages = (FakeStage("woken", once(woken), woken.set), FakeStage("asleep", once(slept), slept.set))
    sweeper = Sweeper(stages, seconds=3_600, rng=Random(1))
    sweeper.start()

    sweeper.wake("woken")
    sweeper.wake("looked after elsewhere")

    assert woken.wait(60)
    sweeper.stop(timeout_seconds=10)
    assert not slept.is_set()
