"""A worker process that dies between any two steps of showing statuses loses none, and makes no second check run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from notify import checkpoints
from notify.checkpoints import CRASH_AT
from notify.store.database import Database
from tests.support.bare_worker import bare_worker
from tests.support.fault_scenario import LEASES_END
from tests.support.statuses import EmbeddedStatuses, embedded_statuses

KILLED = -9
SECRETS = ("ghs_", "PRIVATE KEY", "Bearer")
POINTS = (
    checkpoints.STATUSES_CLAIMED,
    checkpoints.STATUSES_ANSWERED,
    checkpoints.STATUSES_WRITTEN,
    checkpoints.STATUSES_COMMITTED,
)


@pytest.fixture
def statuses(database: Database, tmp_path: Path) -> Iterator[EmbeddedStatuses]:
    with embedded_statuses(database, tmp_path) as made:
        yield made


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_while_it_shows_statuses_loses_none_and_makes_no_second_check_run(
    statuses: EmbeddedStatuses, environment: Mapping[str, str], tmp_path: Path, point: str
) -> None:
    statuses.publish(statuses.status(context="ci/status"), statuses.check_run(context="ci/check"))
    complete = {**environment, "NOTIFY_FORGES_FILE": str(statuses.forge.configuration), CRASH_AT: point}
    complete |= {"NOTIFY_SWEEP_SECONDS": "0.2", "NOTIFY_LOG_LEVEL": "debug"}
    with bare_worker(complete, tmp_path / "bare_worker.log") as doomed:
        assert doomed.wait_until_dead() == KILLED, (tmp_path / "bare_worker.log").read_text()
    logged = (tmp_path / "bare_worker.log").read_text()
    assert not [one for one in SECRETS if one in logged]

    statuses.execute(LEASES_END)
    statuses.publish(
        statuses.status(context="ci/status", state="success"), statuses.check_run(context="ci/check", state="success")
    )
    statuses.make_due()
    statuses.drain()

    assert statuses.runs() == [("ci/check", "success")]
    assert statuses.states("ci/status")[-1] == "success"
    assert statuses.targets("status", "applied_version") == [("applied", 2), ("applied", 2)]
    assert statuses.items() == []
