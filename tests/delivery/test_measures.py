"""What a worker measures besides outcomes: the age of events, and how long the relay took."""

from dataclasses import replace

import pytest

from notify.domain.measures import BUCKETS, Measure
from tests.support import rows
from tests.support.harness import WorkerHarness
from tests.support.recording_count import RecordingCount
from tests.support.smtp import EXTENSIONS, ScriptedRelay

HALF_AN_HOUR_AGO = "UPDATE notify.events SET created_at = now() - interval '30 minutes'"
DUE_AGAIN = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9"
OLD = "3600"


@pytest.fixture
def counted() -> RecordingCount:
    return RecordingCount()


@pytest.fixture
def counting(harness: WorkerHarness, counted: RecordingCount) -> WorkerHarness:
    """A worker whose counts are recorded."""
    return replace(harness, count=counted.note)


def times(counted: RecordingCount, measure: Measure) -> list[tuple[str, int]]:
    return sorted(counted.of(measure).items(), key=lambda one: BUCKETS.index(one[0]))


def test_the_age_of_an_email_is_that_of_its_event_however_late_it_is_sent(
    counting: WorkerHarness, counted: RecordingCount
) -> None:
    counting.pending_emails("ann", "bob")
    counting.execute(HALF_AN_HOUR_AGO)
    counting.drain()

    assert times(counted, Measure.TO_FIRST_ATTEMPT) == [(OLD, 2)]
    assert times(counted, Measure.TO_SENT) == [(OLD, 2)]
    assert 3600 <= counted.seconds[Measure.TO_SENT, OLD] < 3700


def test_a_retried_email_counts_once_as_attempted_first_and_once_as_sent(
    counting: WorkerHarness, counted: RecordingCount, relay: ScriptedRelay
) -> None:
    counting.pending_emails("ann")
    relay.answers["RCPT"] = "450 4.2.0 greylisted, come back"
    counting.drain()
    assert sum(counted.of(Measure.TO_FIRST_ATTEMPT).values()) == 1
    assert counted.of(Measure.TO_SENT) == {}

    relay.answers.clear()
    counting.execute(DUE_AGAIN)
    counting.execute(HALF_AN_HOUR_AGO)
    counting.drain()
    assert sum(counted.of(Measure.TO_FIRST_ATTEMPT).values()) == 1
    assert times(counted, Measure.TO_SENT) == [(OLD, 1)]


def test_fan_out_is_timed_except_for_events_that_must_wait(counting: WorkerHarness, counted: RecordingCount) -> None:
    counting.pending_emails("ann")
    assert sum(counted.of(Measure.TO_FAN_OUT).values()) == 1

    counting.execute("DELETE FROM notify.change_lists CASCADE")
    counting.execute(rows.FAN_OUT_AGAIN)
    counting.fan_out()
    assert sum(counted.of(Measure.TO_FAN_OUT).values()) == 1


@pytest.mark.parametrize("extensions", [(), EXTENSIONS], ids=["in turn", "pipelined"])
def test_each_smtp_phase_is_timed(
    counting: WorkerHarness, counted: RecordingCount, relay: ScriptedRelay, extensions: tuple[str, ...]
) -> None:
    relay.extensions = extensions
    counting.pending_emails("ann")
    counting.drain()

    phases = counted.of(Measure.SMTP)
    assert phases.keys() >= {"connect", "greeting", "ehlo", "mail", "rcpt", "data", "final_dot"}
    assert set(phases.values()) == {1}
    assert all(0 < counted.seconds[Measure.SMTP, phase] < 10 for phase in phases)
