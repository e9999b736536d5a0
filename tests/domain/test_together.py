"""Which letters go at once and which wait, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.together import Group, Leader, Place, Standing, arrange

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=3)
LATER = NOON + WINDOW
ALICE, BOB = Group("alice", "CL-1"), Group("bob", "CL-1")


def places(count: int, standing: Standing | None, *, most: int = 100) -> list[Place]:
    standings = {ALICE: standing} if standing else {}
    return list(arrange([(ALICE, WINDOW)] * count, standings, now=NOON, most=most).places)


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        pytest.param(None, Place(), id="the first"),
        pytest.param(Standing(last_at=NOON - WINDOW), Place(), id="the window is over"),
        pytest.param(
            Standing(last_at=NOON - WINDOW / 3), Place(leaves_at=NOON + WINDOW * 2 / 3, leads=True), id="in the window"
        ),
        pytest.param(
            Standing(last_at=LATER, leader=Leader(id=7), size=2),
            Place(leaves_at=LATER, leader=Leader(id=7)),
            id="somebody waits",
        ),
        pytest.param(
            Standing(last_at=NOON - WINDOW, leader=Leader(id=7), size=2),
            Place(leaves_at=NOON - WINDOW, leader=Leader(id=7)),
            id="somebody should have left",
        ),
        pytest.param(Standing(last_at=LATER), Place(leaves_at=LATER + WINDOW, leads=True), id="one has been claimed"),
    ],
)
def test_when_a_letter_leaves_and_with_whom(standing: Standing | None, expected: Place) -> None:
    assert places(1, standing) == [expected]


def test_of_many_at_once_the_first_goes_and_the_second_leads_the_others() -> None:
    led = Place(leaves_at=LATER, leader=Leader(index=1))
    assert places(4, None) == [Place(), Place(leaves_at=LATER, leads=True), led, led]


def test_a_letter_that_is_full_is_followed_by_another_a_window_later() -> None:
    found = places(6, None, most=2)
    assert [place.leaves_at for place in found] == [None, LATER, LATER, *[LATER + WINDOW] * 2, LATER + 2 * WINDOW]


def test_people_do_not_wait_for_each_other() -> None:
    arranged = arrange([(ALICE, WINDOW), (BOB, WINDOW)], {}, now=NOON)
    assert list(arranged.places) == [Place(), Place()]


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(1, 300)), max_size=30), st.integers(1, 5))
def test_whoever_waits_leaves_with_a_leader_of_the_same_group_at_its_time(
    letters: list[tuple[Group, int]], most: int
) -> None:
    asked = [(group, timedelta(seconds=seconds)) for group, seconds in letters]
    arranged = arrange(asked, {}, now=NOON, most=most)
    for number, place in enumerate(arranged.places):
        if place.leader:
            leader = place.leader.index
            assert leader is not None
            assert leader < number
            assert asked[leader][0] == asked[number][0]
            assert arranged.places[leader].leads
            assert arranged.places[leader].leaves_at == place.leaves_at
