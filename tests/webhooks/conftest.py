"""An endpoint that says yes, and the stage that calls it."""

from collections.abc import Iterator

import pytest

from notify.store.database import Database
from tests.support.webhooks import ScriptedEndpoint, WebhookHarness, webhook_stage


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as scripted:
        yield scripted


@pytest.fixture
def webhooks(database: Database) -> Iterator[WebhookHarness]:
    with webhook_stage(database) as made:
        yield made
