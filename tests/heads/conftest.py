"""A queue on a remote in memory, and people who hear of its heads."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from notify.domain.measures import Role
from notify.store.database import Database
from notify.tally import Tally
from tests.support.queues import World, queue_settings, world_of
from tests.support.remotes import MemorySourceControl
from tests.support.told_heads import Story, story_of


@pytest.fixture
def tally(database: Database) -> Tally:
    return Tally(database, process=uuid4(), role=Role.WORKER)


@pytest.fixture
def world(database: Database, tally: Tally) -> Iterator[World]:
    made = world_of(database, queue_settings(), count=tally.count)
    yield made
    made.stage.stop()


@pytest.fixture
def story(database: Database) -> Iterator[Story]:
    made = story_of(database, MemorySourceControl)
    yield made
    made.world.stage.stop()
