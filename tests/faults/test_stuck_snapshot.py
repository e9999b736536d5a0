"""Commands name a transaction that has kept its snapshot for longer than a minute, while it lasts."""

import json
from collections.abc import Mapping

import psycopg
import pytest
from typer.testing import CliRunner

from notify.cli.commands import command_line
from notify.store.database import Database
from tests.support.wait import until

DOCTOR, TOP = ("doctor", "--json"), ("top", "--once", "--json")
LONGER_THAN_A_MINUTE = 90


@pytest.mark.slow
def test_doctor_and_top_name_a_stuck_snapshot(database: Database, environment: Mapping[str, str]) -> None:
    def snapshots(*command: str) -> str:
        """The command's findings about transactions."""
        said = json.loads(CliRunner().invoke(command_line(), command, env=environment).stdout)
        findings = said["wrong"] if command == TOP else [one for one in said if not one["ok"]]
        return " ".join(one["found"] for one in findings if one["about"] == "transactions")

    with psycopg.connect(database.url) as stuck:  # before that, the server ends our own sessions
        pid = stuck.info.backend_pid
        stuck.execute("SELECT count(*) FROM notify.events")
        assert not snapshots(*TOP)
        until(lambda: f"pid {pid}" in snapshots(*TOP), seconds=LONGER_THAN_A_MINUTE)
        assert f"pid {pid}" in snapshots(*DOCTOR)

    assert not snapshots(*TOP)
    assert not snapshots(*DOCTOR)
