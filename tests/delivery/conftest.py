"""A relay with a script, and a worker that sends to it."""

import pytest

from notify.store.database import Database
from tests.support.office import Office
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def office(database: Database, relay: ScriptedRelay) -> Office:
    """A worker whose letters go to the relay."""
    return Office(database, relay.url)
