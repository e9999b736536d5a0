"""A worker process that dies between any two steps of a webhook call loses none, and repeats it under its id."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from notify import checkpoints
from notify.checkpoints import CRASH_AT
from notify.store.database import Database
from tests.support.bare_worker import bare_worker
from tests.support.fault_scenario import LEASES_END
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay
from tests.support.webhooks import ScriptedEndpoint, webhook_stage

KILLED = -9
# How often the endpoint is told.
POINTS = {
    checkpoints.WEBHOOKS_CLAIMED: 1,
    checkpoints.WEBHOOKS_ANSWERED: 2,
    checkpoints.WEBHOOKS_WRITTEN: 2,
    checkpoints.WEBHOOKS_COMMITTED: 1,
}


@pytest.mark.parametrize(("point", "times"), POINTS.items())
def test_a_process_killed_while_it_calls_an_endpoint_loses_no_call_and_repeats_it_under_its_id(
    database: Database,
    relay: ScriptedRelay,
    environment: Mapping[str, str],
    tmp_path: Path,
    point: str,
    times: int,
) -> None:
    worker = WorkerHarness(database, relay.url)
    with ScriptedEndpoint() as endpoint, webhook_stage(database) as webhooks:
        secret = webhooks.add(endpoint.url, "email.sent")
        worker.pending_emails("ann")
        worker.drain()
        complete = {**environment, CRASH_AT: point, "NOTIFY_WEBHOOK_NETWORKS": "127.0.0.0/8"}
        complete |= {"NOTIFY_SWEEP_SECONDS": "0.2", "NOTIFY_LOG_LEVEL": "debug"}
        with bare_worker(complete, tmp_path / "bare_worker.log") as doomed:
            assert doomed.wait_until_dead() == KILLED, (tmp_path / "bare_worker.log").read_text()

        webhooks.execute(LEASES_END)
        webhooks.drain()
        assert len(endpoint.calls) == times
        assert len({one.id for one in endpoint.calls}) == 1
        assert len({one.body for one in endpoint.calls}) == 1
        assert webhooks.calls("status") == [("delivered",)]
        assert webhooks.items() == []
    logged = (tmp_path / "bare_worker.log").read_text()
    assert not [one for one in (secret, "ann@example.com", "The jitter") if one in logged]
