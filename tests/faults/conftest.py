"""A scripted relay, and a scenario that is checked at the end of every test."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from notify.store.database import Database
from tests.support.fault_scenario import FaultScenario, fault_scenario
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def scenario(
    database: Database, environment: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path
) -> Iterator[FaultScenario]:
    """Producer, workers and checker around the relay."""
    with fault_scenario(database, environment, relay, tmp_path) as made:
        yield made
