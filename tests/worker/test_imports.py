"""A worker imports only what a worker needs, and before it forks, so that its processes share it."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from notify import wiring
from notify.settings import Settings
from notify.store.database import Database
from tests.support import fork_server, imported_modules
from tests.support.fault_scenario import fault_scenario
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.worker import worker

OTHERS = {
    "alembic",
    "celery.bin.celery",
    "cryptography.hazmat.primitives.asymmetric",
    "dns",
    "fastapi",
    "flower",
    "httpx",
    "jwt",
    "notify.api",
    "notify.cli",
    "notify.http",
    "notify.web",
    "prometheus_client",
    "prompt_toolkit",
    "pygments",
    "rich",
    "sqlalchemy.orm",
    "starlette",
    "tornado",
    "typer",
    "uvicorn",
}


@pytest.fixture
def modules(
    database: Database, environment: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path
) -> tuple[set[str], set[str]]:
    """What a worker's process has imported after an event and an email; and what it imported after the fork."""
    with fault_scenario(database, environment, relay, tmp_path) as here:
        here.emit("ann")
        with worker(
            here.environment, tmp_path, processes=1, include=imported_modules.__name__, start=fork_server.spawn
        ) as running:
            running.wait_until_serving()
            here.until_all_ended()
            assert len(relay.emails) == 1
            found = tmp_path / "modules.json"
            with closing(wiring.celery_app(Settings(broker_url=here.environment["NOTIFY_BROKER_URL"]))) as app:
                app.send_task(imported_modules.NAME, [str(found)], queue="notify.upkeep")
            until(found.exists)
            all_of_them, own = json.loads(found.read_text(encoding="utf-8"))
    return set(all_of_them), set(own)


def test_a_worker_imports_only_what_it_needs_and_before_the_fork(modules: tuple[set[str], set[str]]) -> None:
    everything, own = modules
    assert "notify.delivery.engine" in everything
    assert everything & OTHERS == set()
    assert own == set()
