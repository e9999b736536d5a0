"""A relay, and letters that wait for a worker in processes of its own."""

from collections.abc import Iterator

import pytest

from tests.support.smtp import ScriptedRelay


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    """A relay that takes everything until a test tells it otherwise."""
    with ScriptedRelay() as scripted:
        yield scripted
