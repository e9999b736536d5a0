"""A scripted relay, and a worker that sends to it."""

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker whose emails go to the relay."""
    return WorkerHarness(database, relay.url)
