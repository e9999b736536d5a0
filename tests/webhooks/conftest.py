"""An endpoint that says yes, the stage that calls it, and what it can be told of."""

from collections.abc import Iterator

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay
from tests.support.webhooks import ScriptedEndpoint, WebhookHarness, webhook_stage


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as scripted:
        yield scripted


@pytest.fixture
def webhooks(database: Database) -> Iterator[WebhookHarness]:
    with webhook_stage(database) as made:
        yield made


@pytest.fixture
def worker(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    return WorkerHarness(database, relay.url)


@pytest.fixture
def job(worker: WorkerHarness) -> int:
    """An email to ann that waits: what the calls of ``tell`` are about."""
    return int(worker.pending_emails("ann")[0].id)
