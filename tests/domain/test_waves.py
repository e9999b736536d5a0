"""When so many emails die of one reason that the emails are not to blame."""

from datetime import UTC, datetime, timedelta

import pytest

from notify.domain.waves import MIN_DEATHS, Deaths, RecentOutcomes, wave

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ended(sent: int, **deaths: int) -> RecentOutcomes:
    return RecentOutcomes(
        sent=sent,
        deaths=[
            Deaths(reason=reason, count=count, first_at=NOON + timedelta(seconds=number))
            for number, (reason, count) in enumerate(deaths.items())
        ],
    )


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (ended(0), None),
        (ended(1_000), None),
        (ended(0, oversize=MIN_DEATHS - 1), None),
        (ended(0, oversize=MIN_DEATHS), "oversize"),
        (ended(MIN_DEATHS, oversize=MIN_DEATHS), None),
        (ended(MIN_DEATHS - 1, oversize=MIN_DEATHS), "oversize"),
        (ended(0, oversize=MIN_DEATHS, refused=MIN_DEATHS), None),
        (ended(1, refused=1, oversize=8, poison=2), "oversize"),
        (ended(501, refused=499), None),
        (ended(499, refused=501), "refused"),
    ],
    ids=str,
)
def test_a_wave_is_several_emails_of_one_reason_and_most_of_those_that_end(
    seen: RecentOutcomes, reason: str | None
) -> None:
    found = wave(seen)
    assert (found.deaths.reason if found else None) == reason


def test_a_wave_has_its_reason_its_counts_its_start_and_the_command_that_lists_it() -> None:
    found = wave(ended(3, oversize=1_200))
    assert found is not None
    assert all(part in found.in_words for part in ("1,203", "1,200", "oversize", "2026-03-02 12:00:00 UTC"))
    assert found.listing == "notify jobs list --status dead --reason oversize"
