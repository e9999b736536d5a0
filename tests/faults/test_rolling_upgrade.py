"""Workers are replaced one by one: the previous code works on the new schema, beside the new code."""

import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import check_output

import pytest

from tests.support import code_before_migration
from tests.support.fault_scenario import FaultScenario
from tests.support.worker import worker

EMAILS = 40


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The previous code, unpacked."""
    folder = tmp_path / "before"
    folder.mkdir()
    try:
        code_before_migration.unpack(folder)
    except code_before_migration.NoHistory as none:
        pytest.skip(f"needs a checkout with its history: {none}")
    return folder


def test_old_and_new_code_share_the_work_on_the_new_schema(
    scenario: FaultScenario, before: Path, tmp_path: Path
) -> None:
    old = {**scenario.environment, "PYTHONPATH": str(before)}
    assert Path(where_notify_is(old)).is_relative_to(before)

    with worker(old, tmp_path, processes=1) as replaced:
        replaced.wait_until_serving()
        scenario.emit("ann")
        scenario.until_all_ended()
        with scenario.worker(processes=1):
            for number in range(EMAILS):
                scenario.emit(f"reader-{number}")
            assert replaced.stop() == 0
            scenario.emit("bob")
            scenario.until_all_ended()

    assert scenario.check().owed == EMAILS + 2
    assert workers_that_sent(scenario) == 2


def where_notify_is(environment: Mapping[str, str]) -> str:
    line = (sys.executable, "-c", "import notify; print(notify.__file__)")
    return check_output(line, env=environment, text=True).strip()


def workers_that_sent(scenario: FaultScenario) -> int:
    ((number,),) = scenario.harness().execute(
        "SELECT count(DISTINCT worker) FROM notify.delivery_stats WHERE outcome = 'sent'"
    )
    return int(number)
