"""Which emails go at once and which wait, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.bundles import BundleKey, BundleState, OpenEmail, Placement, place

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=3)
LATER = NOON + WINDOW
ALICE, BOB = BundleKey("alice", "CL-1"), BundleKey("bob", "CL-1")


def places(count: int, standing: BundleState | None, *, most: int = 100) -> list[Placement]:
    standings = {ALICE: standing} if standing else {}
    return list(place([(ALICE, WINDOW)] * count, standings, now=NOON, most=most).each)


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        pytest.param(None, Placement(), id="the first"),
        pytest.param(BundleState(last_at=NOON - WINDOW), Placement(), id="the window is over"),
        pytest.param(
            BundleState(last_at=NOON - WINDOW / 3),
            Placement(leaves_at=NOON + WINDOW * 2 / 3, opens=True),
            id="in the window",
        ),
        pytest.param(
            BundleState(last_at=LATER, email=OpenEmail(job_id=7), size=2),
            Placement(leaves_at=LATER, joins=OpenEmail(job_id=7)),
            id="somebody waits",
        ),
        pytest.param(
            BundleState(last_at=NOON - WINDOW, email=OpenEmail(job_id=7), size=2),
            Placement(leaves_at=NOON - WINDOW, joins=OpenEmail(job_id=7)),
            id="somebody should have left",
        ),
        pytest.param(
            BundleState(last_at=LATER), Placement(leaves_at=LATER + WINDOW, opens=True), id="one has been claimed"
        ),
    ],
)
def test_when_a_letter_leaves_and_with_whom(standing: BundleState | None, expected: Placement) -> None:
    assert places(1, standing) == [expected]


def test_of_many_at_once_the_first_goes_and_the_second_leads_the_others() -> None:
    led = Placement(leaves_at=LATER, joins=OpenEmail(index=1))
    assert places(4, None) == [Placement(), Placement(leaves_at=LATER, opens=True), led, led]


def test_a_letter_that_is_full_is_followed_by_another_a_window_later() -> None:
    found = places(6, None, most=2)
    assert [place.leaves_at for place in found] == [None, LATER, LATER, *[LATER + WINDOW] * 2, LATER + 2 * WINDOW]


def test_people_do_not_wait_for_each_other() -> None:
    placed = place([(ALICE, WINDOW), (BOB, WINDOW)], {}, now=NOON)
    assert list(placed.each) == [Placement(), Placement()]


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(1, 300)), max_size=30), st.integers(1, 5))
def test_whoever_waits_leaves_with_a_leader_of_the_same_group_at_its_time(
    letters: list[tuple[BundleKey, int]], most: int
) -> None:
    asked = [(group, timedelta(seconds=seconds)) for group, seconds in letters]
    placed = place(asked, {}, now=NOON, most=most)
    for number, one in enumerate(placed.each):
        if one.joins:
            leader = one.joins.index
            assert leader is not None
            assert leader < number
            assert asked[leader][0] == asked[number][0]
            assert placed.each[leader].opens
            assert placed.each[leader].leaves_at == one.leaves_at
