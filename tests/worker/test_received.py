"""What the Celery door logs about events whose key is known."""

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from notify.store.database import Database
from notify.store.tables.emails import events
from notify.worker.runtime import Runtime
from tests.benchmarks.benchmark_servers import settings
from tests.support.harness import comment


@pytest.fixture
def runtime(environment: Mapping[str, str]) -> Iterator[Runtime]:
    """A worker process that serves no stage."""
    ours = {name: value for name, value in environment.items() if name.startswith("NOTIFY_") and "TEST" not in name}
    made = Runtime(settings(ours), serves=frozenset())
    yield made
    made.stop()


def test_a_different_event_with_a_known_key_is_counted_and_logged_without_its_content(
    runtime: Runtime, database: Database
) -> None:
    known = comment(key="k1")
    assert runtime.receive([known]) == {"accepted": 1, "duplicates": 0, "differing": 0}

    with capture_logs() as logged:
        found = runtime.receive([known, known | {"actor": "somebody else"}])

    assert found == {"accepted": 0, "duplicates": 2, "differing": 1}
    (line,) = [one for one in logged if one["event"] == "receive.differs"]
    assert (line["fields"], "somebody else" in str(line)) == (("actor",), False)
    with database.begin() as connection:
        assert connection.scalars(select(events.c.actor)).all() == [known["actor"]]
