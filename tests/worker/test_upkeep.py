"""Upkeep in a worker process."""

from collections.abc import Iterator, Mapping

import pytest

from notify.store.database import Database
from notify.store.tables.emails import email_jobs
from notify.worker.runtime import Runtime
from tests.benchmarks.benchmark_servers import settings
from tests.support import rows


@pytest.fixture
def runtime(environment: Mapping[str, str]) -> Iterator[Runtime]:
    """A worker process that serves no stage."""
    ours = {name: value for name, value in environment.items() if name.startswith("NOTIFY_") and "TEST" not in name}
    made = Runtime(settings({**ours, "NOTIFY_KEEP_SENT_DAYS": "3"}), serves=frozenset())
    yield made
    made.stop()


@pytest.fixture
def old_email(database: Database) -> int:
    """An email that was sent four days ago."""
    with database.begin() as connection:
        return rows.job(connection, **rows.ended("sent", at=rows.ago(days=4)))


@pytest.mark.usefixtures("old_email")
def test_a_worker_keeps_emails_as_long_as_the_settings_say(runtime: Runtime, database: Database) -> None:
    assert runtime.prune().jobs == 1
    assert rows.count_of(database, email_jobs) == 0


@pytest.mark.usefixtures("old_email")
def test_a_stopped_worker_deletes_nothing_more(runtime: Runtime, database: Database) -> None:
    runtime.stop()

    assert runtime.prune().unfinished
    assert rows.count_of(database, email_jobs) == 1
