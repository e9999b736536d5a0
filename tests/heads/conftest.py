"""A queue on a remote in memory."""

from collections.abc import Iterator

import pytest

from notify.store.database import Database
from tests.support.queues import World, queue_settings, world_of


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    made = world_of(database, queue_settings())
    yield made
    made.stage.stop()
