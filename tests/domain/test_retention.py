"""How long rows are kept, and how long upkeep rests."""

import pytest

from notify.domain.retention import LONG_REST_SECONDS, Look, rest

IDLE = Look(seconds=0.001, due=False)
BUSY = Look(seconds=0.001, due=True)
SLOW = Look(seconds=0.1, due=False)


@pytest.mark.parametrize(
    ("now", "worked", "seconds"),
    [
        (IDLE, 0.1, 0.0),
        (BUSY, 0.1, 0.9),
        (SLOW, 0.1, LONG_REST_SECONDS),
        (SLOW, 1.0, 9.0),
        (Look(seconds=0.006, due=False), 0.1, 0.0),
    ],
    ids=["nothing is due", "letters are due", "the claim is slow", "the claim and the batch are slow", "a trifle"],
)
def test_upkeep_rests_for_the_sake_of_letters(now: Look, worked: float, seconds: float) -> None:
    assert rest(worked, now=now, usual_seconds=0.001) == pytest.approx(seconds)
