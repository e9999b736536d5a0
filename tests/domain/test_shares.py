"""How the sessions that a relay allows are shared: never more than there are, and nobody starves who has to send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.shares import Claimant, share

claimants = st.builds(Claimant, wanted=st.integers(1, 20), sessions=st.integers(0, 5), is_idle=st.just(value=False))


def working(wanted: int, sessions: int) -> Claimant:
    return Claimant(wanted=wanted, sessions=sessions)


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
        (Claimant(wanted=3, sessions=3, is_idle=True), [], 3),
        (Claimant(wanted=3, sessions=3, is_idle=True), [working(8, 0)], 0),
    ],
)
def test_who_comes_first_has_all_until_somebody_else_has_something_to_send(
    mine: Claimant, others: list[Claimant], granted: int
) -> None:
    assert share(4, mine=mine, others=others) == granted


@given(cap=st.integers(1, 40), wants=st.lists(st.integers(1, 20), min_size=1, max_size=8), turns=st.data())
def test_together_they_never_have_more_than_the_cap_and_soon_each_has_one_that_can(
    cap: int, wants: list[int], turns: st.DataObject
) -> None:
    held = [0] * len(wants)
    order = turns.draw(st.permutations(range(len(wants))))
    for asker in [*order] * 4:
        others = [working(wants[n], held[n]) for n in range(len(wants)) if n != asker]
        held[asker] = share(cap, mine=working(wants[asker], held[asker]), others=others)
        assert sum(held) <= cap
    assert sum(had > 0 for had in held) == min(len(wants), cap)
