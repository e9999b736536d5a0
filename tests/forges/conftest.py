"""A forge to talk to."""

from collections.abc import Iterator

import pytest

from tests.forges.server import ForgeServer


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with ForgeServer() as server:
        yield server
