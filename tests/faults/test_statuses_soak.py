"""Statuses that are published while workers are killed and the forge fails end on their last state, each once."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from notify.store.database import Database
from tests.faults.statuses_soak import CALLS_A_TARGET, LASTING, Soak, Trouble, soak

FEW, MANY = 100, 10_000
SHORT = Trouble(kill_every=0.9, kills=2, expire_every=0.9, limited=0.004, lost=0.02, in_a_hurry=True)


@pytest.fixture
def statuses(database: Database, environment: Mapping[str, str], broker_url: str, tmp_path: Path) -> Iterator[Soak]:
    with soak(database, environment, tmp_path, broker=broker_url, lease_seconds=2) as made:
        yield made


def test_two_hundred_statuses_end_on_their_last_state_while_workers_are_killed_and_the_forge_fails(
    statuses: Soak,
) -> None:
    together = statuses.together(FEW, seed=1)
    troubled = statuses.troubled(FEW, seed=1, trouble=SHORT)

    assert together.broken == troubled.broken == []
    assert together.calls <= 2 * FEW
    assert together.replaced
    assert troubled.killed
    assert troubled.tokens_expired
    assert troubled.unheard


@pytest.mark.slow
def test_ten_thousand_statuses_end_on_their_last_state_while_workers_are_killed_and_the_forge_fails(
    statuses: Soak, capsys: pytest.CaptureFixture[str]
) -> None:
    together = statuses.together(MANY, seed=1)
    troubled = statuses.troubled(MANY, seed=1, trouble=LASTING)
    with capsys.disabled():
        print(f"\n{together}\n{troubled}")  # noqa: T201 - the figures are what the test is for

    assert together.broken == troubled.broken == []
    assert together.calls <= CALLS_A_TARGET * MANY
