"""How long an email waits after a refusal."""

from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from notify.domain.backoff import BASE, CAP, next_delay

failures = st.integers(min_value=1, max_value=10_000)
dice = st.integers().map(Random)
bases = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(hours=1))
spans = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=2))
A_MOMENT = timedelta(microseconds=2)


class Highest(Random):
    """Always returns the maximum."""

    def random(self) -> float:
        return 1.0


@settings(deadline=None, derandomize=True)
@given(failures, dice, bases, spans)
def test_a_wait_is_between_half_and_all_of_the_doubling_and_never_above_the_cap(
    failures: int, rng: Random, base: timedelta, cap: timedelta
) -> None:
    doubled = min(cap, base * 2 ** min(failures - 1, 20))
    delay = next_delay(failures, rng=rng, base=base, cap=cap)
    assert doubled / 2 - A_MOMENT <= delay <= doubled + A_MOMENT
    assert delay <= cap + A_MOMENT


@settings(deadline=None, derandomize=True)
@given(failures, dice, spans)
def test_a_wait_is_never_below_its_floor_and_unchanged_above_it(failures: int, rng: Random, floor: timedelta) -> None:
    state = rng.getstate()
    without = next_delay(failures, rng=rng)
    rng.setstate(state)
    assert next_delay(failures, rng=rng, floor=floor) == max(floor, without)


def test_the_longest_waits_double_from_a_minute_to_four_hours() -> None:
    waits = [next_delay(n, rng=Highest()) for n in range(1, 12)]
    assert waits[0] == BASE == timedelta(minutes=1)
    assert waits[:8] == [BASE * 2**n for n in range(8)]
    assert waits[8:] == [CAP] * 3 == [timedelta(hours=4)] * 3


def test_emails_refused_together_do_not_come_back_together() -> None:
    rng = Random(1)
    assert len({next_delay(3, rng=rng) for _ in range(50)}) == 50
