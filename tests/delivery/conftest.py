"""A relay with a script, and a worker that sends to it."""

from collections.abc import Iterator

import pytest

from notify.store.database import Database
from tests.support.office import Office
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    """A relay that takes everything until a test tells it otherwise."""
    with ScriptedRelay() as scripted:
        yield scripted


@pytest.fixture
def office(database: Database, relay: ScriptedRelay) -> Office:
    """A worker whose letters go to the relay."""
    return Office(database, relay.url)
