"""An embedded forge with one pull request, and its installation's calls."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from notify.embedded.forge.server import EmbeddedForge
from tests.support.forge_calls import client, installation_token, running_forge

REPOSITORY = "acme/app"


@pytest.fixture
def pulled(tmp_path: Path) -> Iterator[EmbeddedForge]:
    """A forge with one pull request; its webhooks go nowhere."""
    with running_forge(tmp_path) as running:
        running.state.add_repository(REPOSITORY)
        running.state.open_pull(REPOSITORY, by="alice", title="Cap the retry", head="cap")
        yield running


@pytest.fixture
def calls(pulled: EmbeddedForge, tmp_path: Path) -> Iterator[httpx.Client]:
    """The installation's calls about the repository."""
    with client(pulled, installation_token(pulled, tmp_path)) as calling:
        calling.base_url = calling.base_url.join(f"/api/v3/repos/{REPOSITORY}")
        yield calling


@pytest.fixture
def sha(pulled: EmbeddedForge) -> str:
    """The head of the pull request."""
    return pulled.state.repository(REPOSITORY).pulls[1].head_sha
