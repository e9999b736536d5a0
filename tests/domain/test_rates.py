"""How fast emails may go, and how workers share the sessions that a relay allows."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.rates import (
    MAX_PER_SECOND,
    Bucket,
    Rate,
    SessionUsage,
    allowed_sessions,
    assign_delays,
    parse_rates,
    rate_of,
)

FIVE = Rate.per_second(5)


@pytest.mark.parametrize(
    ("number", "each", "burst"), [(5, 0.2, 10), (1, 1, 2), (0.5, 2, 2), (0.001, 1000, 2), (14, 1 / 14, 28)]
)
def test_a_bucket_holds_two_seconds_worth_of_tokens_and_at_least_two(number: float, each: float, burst: int) -> None:
    assert Rate.per_second(number) == Rate(each, burst)


@pytest.mark.parametrize(
    ("owed", "free", "wait"),
    [(0, 10, 0), (0.2, 9, 0), (1.8, 1, 0), (1.81, 0, 0.01), (2.0, 0, 0.2), (3.0, 0, 1.2), (0.199999, 9, 0)],
)
def test_spent_tokens_are_missing_until_they_are_refilled(owed: float, free: int, wait: float) -> None:
    assert FIVE.free(owed) == free
    assert FIVE.wait(owed) == pytest.approx(wait)


def test_unused_tokens_can_be_returned() -> None:
    assert FIVE.spent(FIVE.spent(0, 7), -7) == pytest.approx(0)
    assert FIVE.spent(0, -3) == 0


@given(
    rate=st.floats(0.1, 1000).map(Rate.per_second),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 300)), max_size=30),
)
def test_no_interval_has_more_emails_than_its_rate_and_one_full_bucket(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    now, owed = 0.0, 0.0
    gone: list[tuple[float, int]] = []
    for pause, wanted in steps:
        now, owed = now + pause, max(0.0, owed - pause)
        going = min(wanted, rate.free(owed))
        owed = rate.spent(owed, going)
        gone.append((now, going))
    for first, (began, _) in enumerate(gone):
        number = 0
        for at, going in gone[first:]:
            number += going
            assert number <= rate.burst + (at - began) / rate.each + 0.001


@given(rate=st.floats(0.1, 1000).map(Rate.per_second), owed=st.floats(0, 100))
def test_whoever_waits_as_long_as_told_finds_a_token_and_not_sooner(rate: Rate, owed: float) -> None:
    if wait := rate.wait(owed):
        assert rate.free(max(0.0, owed - wait)) >= 1
        assert rate.free(max(0.0, owed - wait / 2)) == 0 or wait < rate.each / 1000
    else:
        assert rate.free(owed) >= 1


@pytest.mark.parametrize(
    ("bucket", "urgent", "delays", "after"),
    [
        (Bucket(), [False] * 3, [0, 0, 0], Bucket(owed=3, queued=0)),
        (Bucket(owed=9), [False] * 3, [0, 1, 2], Bucket(owed=10, queued=2)),
        (Bucket(owed=10), [False] * 2, [1, 2], Bucket(owed=10, queued=2)),
        (Bucket(owed=10, queued=40), [False] * 2, [41, 42], Bucket(owed=10, queued=42)),
        (Bucket(owed=10, queued=40), [True, False, True], [1, 41, 2], Bucket(owed=10, queued=41)),
        (Bucket(owed=8, queued=40), [True, False, True, False], [0, 0, 1, 41], Bucket(owed=10, queued=41)),
        (Bucket(owed=12, queued=1), [False], [3], Bucket(owed=12, queued=3)),
        (Bucket(owed=10, queued=3599), [False] * 3, [3600] * 3, Bucket(owed=10, queued=3600)),
        (Bucket(owed=9000), [True], [3600], Bucket(owed=9000, queued=8990)),
        (Bucket(owed=4, queued=7), [], [], Bucket(owed=4, queued=7)),
    ],
)
def test_a_delayed_email_gets_a_slot_behind_earlier_ones_and_an_urgent_one_the_next(
    bucket: Bucket, urgent: list[bool], delays: list[float], after: Bucket
) -> None:
    found, left = assign_delays(bucket, Rate(each=1, burst=10), urgent=urgent)
    assert found == pytest.approx(delays)
    assert (left.owed, left.queued) == pytest.approx((after.owed, max(after.queued, bucket.queued)))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.floats(1, 100).map(Rate.per_second))
def test_emails_that_return_at_their_slots_all_find_tokens(batches: list[int], rate: Rate) -> None:
    bucket, delays = Bucket(), []
    for number in batches:
        found, bucket = assign_delays(bucket, rate, urgent=[False] * number)
        delays += [one for one in found if one]
    owed, at = bucket.owed, 0.0
    for delay in sorted(delays):
        owed, at = max(0.0, owed - (delay - at)), delay
        assert rate.free(owed) >= 1
        owed = rate.spent(owed, 1)
    assert len(delays) == max(0, sum(batches) - rate.burst)
    assert ceil(at / rate.each - 0.01) == len(delays)


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("example.com", "example.com"),
        ("mail.example.com", None),
        ("a.example.org", "*.example.org"),
        ("b.a.example.org", "*.example.org"),
        ("example.org", None),
        ("badexample.org", None),
        ("slow.example.net", "slow.example.net"),
        ("fast.example.net", "*.example.net"),
        ("elsewhere", None),
    ],
)
def test_a_domain_takes_the_rate_of_the_first_matching_name(domain: str, name: str | None) -> None:
    rates = parse_rates("example.com=5 *.example.org=2\nSlow.example.net=0.5 *.example.net=7")
    found = rate_of(rates, domain)
    assert (found and found[0]) == name


def test_an_empty_setting_has_no_rates() -> None:
    assert not parse_rates("")
    assert rate_of(parse_rates("example.com=5"), "example.com") == ("example.com", FIVE)


@pytest.mark.parametrize(
    "words",
    [
        "example.com",
        "example.com=",
        "=5",
        "example.com=0",
        "example.com=-1",
        "example.com=nan",
        "example.com=1e3",
        f"example.com={MAX_PER_SECOND + 1}",
        "example.com=5 EXAMPLE.com=6",
        "ann@example.com=5",
        "*=5",
        "*.=5",
        "mail.*.com=5",
        "example.com=5,example.org=6",
    ],
)
def test_an_invalid_rate_is_named_with_what_was_expected(words: str) -> None:
    with pytest.raises(ValueError, match="expected emails per second by domain") as refused:
        parse_rates(f"fine.test=1 {words}")
    assert words.rsplit(maxsplit=1)[-1] in str(refused.value)


claimants = st.builds(SessionUsage, wanted=st.integers(1, 20), sessions=st.integers(0, 5), is_idle=st.just(value=False))


def working(wanted: int, sessions: int) -> SessionUsage:
    return SessionUsage(wanted=wanted, sessions=sessions)


@pytest.mark.parametrize(
    ("mine", "others", "granted"),
    [
        (working(8, 0), [], 4),
        (working(2, 0), [], 2),
        (working(8, 4), [working(8, 0)], 2),
        (working(8, 0), [working(8, 4)], 0),
        (working(8, 0), [working(8, 3)], 1),
        (working(8, 2), [working(2, 2)], 2),
        (working(8, 3), [working(1, 1)], 3),
        (working(8, 1), [working(8, 1), working(8, 1), working(8, 1), working(8, 0)], 1),
        (SessionUsage(wanted=3, sessions=3, is_idle=True), [], 3),
        (SessionUsage(wanted=3, sessions=3, is_idle=True), [working(8, 0)], 0),
    ],
)
def test_a_single_worker_may_use_all_sessions_until_another_has_emails(
    mine: SessionUsage, others: list[SessionUsage], granted: int
) -> None:
    assert allowed_sessions(4, mine=mine, others=others) == granted


@given(cap=st.integers(1, 40), wants=st.lists(st.integers(1, 20), min_size=1, max_size=8), turns=st.data())
def test_workers_together_never_exceed_the_cap_and_soon_each_has_a_session(
    cap: int, wants: list[int], turns: st.DataObject
) -> None:
    sessions = [0] * len(wants)
    order = turns.draw(st.permutations(range(len(wants))))
    for asker in [*order] * 4:
        others = [working(wants[n], sessions[n]) for n in range(len(wants)) if n != asker]
        sessions[asker] = allowed_sessions(cap, mine=working(wants[asker], sessions[asker]), others=others)
        assert sum(sessions) <= cap
    assert sum(had > 0 for had in sessions) == min(len(wants), cap)
