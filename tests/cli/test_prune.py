"""What ``notify prune`` deletes, prints and keeps."""

import pytest

from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.tables.emails import email_jobs
from tests.cli.conftest import Notify
from tests.support import rows

COUNTS = {"jobs": 1, "events": 1, "deliveries": 0, "logins": 0, "statuses": 0, "calls": 0, "requests": 0, "stats": 0}


@pytest.fixture
def emails(database: Database) -> None:
    """Two emails that ended twenty days ago, one sent and one dead, each about an event of its own."""
    with database.begin() as connection:
        for status in ("sent", "dead"):
            aged = rows.ago(days=20)
            event_id = rows.event(connection, **rows.ended("done", at=aged))
            rows.job(connection, event_id=event_id, **rows.ended(status, at=aged))


@pytest.mark.usefixtures("emails")
def test_a_dry_run_says_what_would_be_deleted_and_deletes_nothing(notify: Notify, database: Database) -> None:
    said = notify("prune", "--dry-run", "--json")

    assert (said.code, said.json) == (0, COUNTS)
    assert rows.count_of(database, email_jobs) == 2
    assert "1 jobs, 1 events" in notify("prune", "--dry-run").output


@pytest.mark.usefixtures("emails")
def test_old_rows_are_deleted_and_counted(notify: Notify, database: Database) -> None:
    said = notify("prune", "--json")

    assert said.code == 0
    assert said.json == {**COUNTS, "emptied": 0, "elsewhere": False, "unfinished": False}
    assert rows.count_of(database, email_jobs) == 1


@pytest.mark.usefixtures("emails")
def test_the_retention_of_emails_is_a_setting(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_KEEP_SENT_DAYS", "30")
    assert notify("prune", "--json").json["jobs"] == 0

    monkeypatch.setenv("NOTIFY_KEEP_DEAD_DAYS", "10")
    assert notify("prune", "--json").json["jobs"] == 1


@pytest.mark.usefixtures("emails")
def test_beside_another_run_nothing_is_deleted_and_the_command_says_so(notify: Notify, database: Database) -> None:
    with database.engine.connect() as somebody:
        assert upkeep.try_lock(somebody)
        said = notify("prune")

    assert (said.code, "another run" in said.output) == (0, True)
    assert rows.count_of(database, email_jobs) == 2
