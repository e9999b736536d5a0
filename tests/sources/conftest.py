"""A forge, a worker's parts and a relay: what happens on the forge ends in mailboxes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notify.embedded.forge.server import EmbeddedForge
from notify.store.database import Database
from tests.support.forge import ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    with forge_harness(database, relay.url, tmp_path) as made:
        yield made


@pytest.fixture
def forge(sources: ForgeHarness) -> EmbeddedForge:
    return sources.forge
