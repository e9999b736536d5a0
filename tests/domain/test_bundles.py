"""Which emails go at once and which wait, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.bundles import (
    MAX_BUNDLED,
    MAX_DEFERRED,
    BundleAssignment,
    BundleCandidate,
    BundleKey,
    BundleState,
    assign,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=3)
LATER = NOON + WINDOW
ALICE, BOB = BundleKey("alice", "CL-1"), BundleKey("bob", "CL-1")
TONIGHT = BundleKey("alice", until=LATER)


def placed(count: int, state: BundleState | None, key: BundleKey = ALICE) -> list[BundleAssignment]:
    asked = [BundleCandidate(key, f"email-{number}", WINDOW) for number in range(count)]
    return assign(asked, {key: state} if state else {}, now=NOON)[0]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(None, BundleAssignment(), id="the first"),
        pytest.param(BundleState(last_at=NOON - WINDOW), BundleAssignment(), id="the window is over"),
        pytest.param(
            BundleState(last_at=NOON - WINDOW / 3), BundleAssignment(NOON + WINDOW * 2 / 3), id="in the window"
        ),
        pytest.param(
            BundleState(last_at=LATER, email=7, size=2), BundleAssignment(LATER, joins=7), id="an email waits"
        ),
        pytest.param(
            BundleState(last_at=NOON - WINDOW, email=7, size=2),
            BundleAssignment(NOON - WINDOW, joins=7),
            id="an email should have left",
        ),
        pytest.param(BundleState(last_at=LATER), BundleAssignment(LATER + WINDOW), id="one has been claimed"),
    ],
)
def test_when_a_notification_leaves_and_in_which_email(state: BundleState | None, expected: BundleAssignment) -> None:
    assert placed(1, state) == [expected]


def test_of_many_simultaneous_notifications_the_first_goes_and_the_others_share_an_email() -> None:
    joining = BundleAssignment(LATER, joins="email-1")
    assert placed(4, None) == [BundleAssignment(), BundleAssignment(LATER), joining, joining]


def test_notifications_deferred_until_the_same_instant_share_one_email() -> None:
    joining = BundleAssignment(LATER, joins="email-0")
    assert placed(3, None, TONIGHT) == [BundleAssignment(LATER), joining, joining]


def test_a_full_bundle_is_followed_by_another_one_window_later() -> None:
    full = BundleState(last_at=LATER, email=7, size=MAX_BUNDLED - 1)
    joining = BundleAssignment(LATER + WINDOW, joins="email-1")
    assert placed(3, full) == [BundleAssignment(LATER, joins=7), BundleAssignment(LATER + WINDOW), joining]


def test_a_full_digest_is_followed_by_another_at_the_same_instant() -> None:
    full = BundleState(last_at=LATER, email=7, size=MAX_DEFERRED - 1)
    assert placed(2, full, TONIGHT) == [BundleAssignment(LATER, joins=7), BundleAssignment(LATER)]


def test_people_do_not_wait_for_each_other() -> None:
    found, _ = assign([BundleCandidate(ALICE, "a", WINDOW), BundleCandidate(BOB, "b", WINDOW)], {}, now=NOON)
    assert found == [BundleAssignment(), BundleAssignment()]


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB, TONIGHT]), st.integers(1, 300)), max_size=30))
def test_a_notification_that_joins_an_email_leaves_with_it_and_belongs_to_its_bundle(
    emails: list[tuple[BundleKey, int]],
) -> None:
    asked = [BundleCandidate(key, str(n), timedelta(seconds=seconds)) for n, (key, seconds) in enumerate(emails)]
    found, _ = assign(asked, {}, now=NOON)
    for number, one in enumerate(found):
        if one.joins is not None:
            opener = int(one.joins)
            assert opener < number
            assert asked[opener].key == asked[number].key
            assert found[opener] == BundleAssignment(one.leaves_at)
