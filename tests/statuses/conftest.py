"""A forge in memory and the stage that applies statuses to it."""

from collections.abc import Iterator

import pytest

from notify.store.database import Database
from tests.support.statuses import MemoryForge, StatusHarness, status_stage


@pytest.fixture
def forge() -> MemoryForge:
    return MemoryForge()


@pytest.fixture
def statuses(database: Database, forge: MemoryForge) -> Iterator[StatusHarness]:
    with status_stage(database, forge, error_label="status-failed") as made:
        yield made
