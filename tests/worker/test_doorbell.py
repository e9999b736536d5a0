"""A ring never blocks its caller, whatever the broker does, and the last one is always sent."""

from collections.abc import Iterator
from contextlib import closing
from time import monotonic

import pytest
import redis
from sqlalchemy import make_url

from notify import wiring
from notify.domain.measures import Measure, no_count
from notify.domain.ports import Doorbell
from notify.domain.stages import DELIVER, FAN_OUT, queue
from notify.settings import Settings
from notify.wiring import STAGE_NAMES
from tests.support.proxy import Flow, Proxy
from tests.support.recording_count import RecordingCount
from tests.support.smtp import nobody_listening
from tests.support.wait import until

# Who waits for a broker waits for its time-out, a second; a busy machine alone can take a tenth of one.
LONGEST_CALL_SECONDS = 0.5
RINGS = 20
PAUSE_SECONDS = 0.05


@pytest.fixture
def line(broker_url: str) -> Iterator[Proxy]:
    """A proxy in front of an empty broker."""
    parsed = make_url(broker_url)
    with Proxy((parsed.host or "127.0.0.1", parsed.port or 6379)) as proxy:
        yield proxy


def doorbell(url: str, counted: RecordingCount | None = None, *, delay_seconds: float = 0.0) -> Doorbell:
    count = no_count if counted is None else counted.note
    return wiring.doorbell(Settings(broker_url=url), count=count, delay_seconds=delay_seconds)


def through(line: Proxy, broker_url: str) -> str:
    """The broker's database through the proxy."""
    return make_url(broker_url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)


def longest_ring(bell: Doorbell) -> float:
    """Seconds that the slowest of many rings took."""
    taken = []
    for _ in range(RINGS):
        began = monotonic()
        bell.ring(DELIVER)
        taken.append(monotonic() - began)
    return max(taken)


def waiting(broker_url: str, stage: str = DELIVER) -> int:
    """Messages in a stage's queue."""
    with closing(redis.Redis.from_url(broker_url)) as client:
        length = client.llen(queue(stage))
    assert isinstance(length, int)
    return length


def test_a_broker_that_refuses_connections_blocks_no_caller() -> None:
    with nobody_listening() as port:
        counted = RecordingCount()
        bell = doorbell(f"redis://127.0.0.1:{port}/0", counted)
        assert longest_ring(bell) < LONGEST_CALL_SECONDS
        until(lambda: bool(counted.of(Measure.DOORBELL_FAILED)))
        assert longest_ring(bell) < LONGEST_CALL_SECONDS


def test_a_broker_that_never_answers_blocks_no_caller(line: Proxy, broker_url: str) -> None:
    line.block(*Flow)
    bell = doorbell(through(line, broker_url))
    assert longest_ring(bell) < LONGEST_CALL_SECONDS
    assert longest_ring(bell) < LONGEST_CALL_SECONDS


def test_a_broker_that_goes_silent_blocks_no_caller_and_is_rung_again_when_it_answers(
    line: Proxy, broker_url: str
) -> None:
    counted = RecordingCount()
    bell = doorbell(through(line, broker_url), counted)
    bell.ring(DELIVER)
    until(lambda: waiting(broker_url) == 1)

    line.block(*Flow)
    assert longest_ring(bell) < LONGEST_CALL_SECONDS
    until(lambda: bool(counted.of(Measure.DOORBELL_FAILED)), seconds=60)
    line.heal()
    line.reset()
    before = counted.of(Measure.DOORBELL_SENT)

    def rung_again() -> bool:
        bell.ring(DELIVER)
        return counted.of(Measure.DOORBELL_SENT) != before

    until(rung_again, seconds=60)
    until(lambda: waiting(broker_url) >= 2)


def test_simultaneous_rings_are_one_message_and_the_last_is_followed_by_one(broker_url: str) -> None:
    bell = doorbell(broker_url)
    bell.ring(DELIVER)
    until(lambda: waiting(broker_url) == 1)
    for _ in range(1000):
        bell.ring(DELIVER)
    bell.flush(at_most_seconds=10)
    rung = waiting(broker_url)
    bell.ring(DELIVER)
    bell.flush(at_most_seconds=10)

    assert 2 <= rung < 100
    assert waiting(broker_url) == rung + 1


def test_a_ring_soon_after_another_is_sent_after_a_pause(broker_url: str) -> None:
    bell = doorbell(broker_url)
    bell.ring(DELIVER)
    bell.flush(at_most_seconds=60)
    began = monotonic()
    for _ in range(2):
        bell.ring(DELIVER)
        bell.flush(at_most_seconds=60)

    assert waiting(broker_url) == 3
    assert monotonic() - began >= PAUSE_SECONDS


def test_a_delayed_ring_gives_its_caller_a_head_start(broker_url: str) -> None:
    bell = doorbell(broker_url, delay_seconds=PAUSE_SECONDS)
    began = monotonic()
    for _ in range(RINGS):
        bell.ring(DELIVER)
    bell.flush(at_most_seconds=60)

    assert waiting(broker_url) == 1
    assert monotonic() - began >= PAUSE_SECONDS


def test_each_stage_is_rung_separately(broker_url: str) -> None:
    bell = doorbell(broker_url)
    for stage in (DELIVER, FAN_OUT):
        bell.ring(stage)
    bell.flush(at_most_seconds=10)
    rung = [stage for stage in STAGE_NAMES if waiting(broker_url, stage) == 1]
    assert rung == [FAN_OUT, DELIVER]
