"""What a worker's processes count reaches the table, at the latest when they stop."""

from pathlib import Path

from notify.store.database import Database
from notify.store.operations import process_totals
from notify.store.operations.process_totals import Total
from notify.wiring import STAGE_NAMES
from tests.support.worker import worker


def read(database: Database) -> tuple[dict[str, dict[str, Total]], dict[str, int]]:
    with database.begin() as connection:
        return process_totals.read(connection), process_totals.alive(connection)


def test_each_process_writes_its_counts_when_it_stops(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    with worker({**environment, "NOTIFY_SWEEP_SECONDS": "0.05"}, tmp_path, processes=2) as running:
        running.wait_until_serving()
        assert running.stop() == 0

    totals, alive = read(database)
    assert alive == {"worker": 2}
    assert totals["sweep"].keys() == set(STAGE_NAMES)
    assert totals["flush"]["worker"].count >= 2
