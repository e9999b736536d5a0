"""A relay with a script, and a scene that is checked at the end of every test."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from notify.store.database import Database
from tests.support.scene import Scene
from tests.support.scene import scene as a_scene
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def scene(database: Database, environment: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path) -> Iterator[Scene]:
    """Producer, workers and checker around the relay."""
    with a_scene(database, environment, relay, tmp_path) as made:
        yield made
