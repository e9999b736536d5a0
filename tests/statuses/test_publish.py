"""notify.publish: what is wanted on a commit, in the application's own transaction."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import text

import notify
from notify.domain.errors import MalformedStatus
from notify.domain.stages import FAN_OUT, STATUSES
from notify.domain.statuses import Status, StatusKind, StatusState
from notify.statuses.publish import publish
from notify.statuses.schema import parse
from notify.store.connection_kinds import Caller
from notify.store.database import Database
from tests.support import applications
from tests.support.doorbell import RecordingDoorbell
from tests.support.servers import in_words
from tests.support.statements import statements
from tests.support.wait import until

SHA = "a" * 40
COMMENT = {
    "type": "cl.comment.created",
    "actor": "dana",
    "cl": {"link": "CL-1", "author": "alice"},
    "comment": {"id": "1", "body": "Why?"},
}
ROWS = (
    "SELECT repository, context, state, status, wanted_version, applied_version FROM notify.commit_statuses ORDER BY id"
)
ITEMS = "SELECT stage, lane, attempt FROM notify.work_items ORDER BY stage, id"


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        "forge": "github",
        "repository": "acme/app",
        "sha": SHA,
        "context": "ci/build",
        "state": "pending",
        **changes,
    }


@pytest.fixture(params=list(applications.ONE_OF_EACH.values()), ids=list(applications.ONE_OF_EACH))
def caller(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """An application's connection to the empty database, one of each library."""
    with request.param(in_words(database.engine.url)) as opened:
        yield opened


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_status_exists_once_the_transaction_is_committed_and_the_doorbell_rings_then(
    caller: Caller, database: Database
) -> None:
    bell = RecordingDoorbell()
    receipt = notify.publish(caller, wanted(), doorbell=bell)
    notify.emit(caller, COMMENT, doorbell=bell)

    assert rows(database, ROWS) == []
    caller.commit()

    until(lambda: sorted(bell.rings) == sorted([STATUSES, FAN_OUT]))
    assert receipt.version == 1
    assert rows(database, ROWS) == [("acme/app", "ci/build", "pending", "pending", 1, 0)]
    assert (STATUSES, 1, 0) in rows(database, ITEMS)


def test_a_status_never_exists_if_the_transaction_is_rolled_back(caller: Caller, database: Database) -> None:
    notify.publish(caller, wanted(), doorbell=RecordingDoorbell())
    caller.rollback()

    assert rows(database, ROWS) == []
    assert rows(database, ITEMS) == []


def test_a_newer_status_of_a_target_replaces_the_older_in_its_row(database: Database) -> None:
    for name, state in [("acme/app", "pending"), ("Acme/App", "success")]:
        with database.begin() as connection:
            notify.publish(connection, wanted(repository=name, state=state), doorbell=RecordingDoorbell())

    assert rows(database, ROWS) == [("acme/app", "ci/build", "success", "pending", 2, 0)]
    assert rows(database, ITEMS) == [(STATUSES, 1, 0)]


def test_a_repository_is_the_same_target_under_its_new_name(database: Database) -> None:
    with database.begin() as connection:
        first = notify.publish(connection, wanted(), doorbell=RecordingDoorbell())
        connection.execute(text("UPDATE notify.commit_statuses SET renamed_to = 'acme/web'"))
    with database.begin() as connection:
        batch = [wanted(repository="acme/web"), wanted(), wanted(repository="ACME/web", state="success")]
        receipts = publish(connection, [parse(one) for one in batch])

    assert {one.id for one in receipts} == {first.id}
    assert rows(database, ROWS) == [("acme/app", "ci/build", "success", "pending", 4, 0)]


@pytest.mark.parametrize("size", [1, 200])
def test_a_batch_costs_as_many_statements_as_one_status(database: Database, size: int) -> None:
    with database.begin() as connection, statements(database) as sent:
        receipts = publish(connection, [parse(wanted(context=f"ci/{number}")) for number in range(size)])

    assert len(sent) == 2
    assert len({one.id for one in receipts}) == size


def test_an_applications_long_transaction_does_not_block_the_lease_of_a_worker(database: Database) -> None:
    with database.begin() as connection:
        notify.publish(connection, wanted(), doorbell=RecordingDoorbell())
    with database.begin() as application, database.begin() as worker:
        worker.execute(text("UPDATE notify.work_items SET lane = 8, leased_by = gen_random_uuid()"))
        notify.publish(application, wanted(state="success"), doorbell=RecordingDoorbell())
        worker.execute(text("SET LOCAL lock_timeout = '1ms'"))
        worker.execute(text("UPDATE notify.work_items SET due_at = now() + interval '1 minute'"))


def test_a_dead_target_is_due_again_when_more_is_published(database: Database) -> None:
    with database.begin() as connection:
        notify.publish(connection, wanted(), doorbell=RecordingDoorbell())
        connection.execute(text("UPDATE notify.work_items SET lane = 9, failures = 10, attempt = 3, reason = 'gone'"))
        connection.execute(
            text("UPDATE notify.commit_statuses SET status = 'dead', finished_at = now(), outcome_reason = 'gone'")
        )
        notify.publish(connection, wanted(), doorbell=RecordingDoorbell())

    assert rows(database, "SELECT lane, attempt, failures < max_failures FROM notify.work_items") == [(1, 3, True)]
    assert rows(database, ROWS) == [("acme/app", "ci/build", "pending", "pending", 2, 0)]


def test_a_check_run_begins_when_it_is_in_progress_and_ends_with_its_conclusion(database: Database) -> None:
    seen = []
    with database.begin() as connection:
        for state in ("queued", "in_progress", "failure", "in_progress", "success"):
            notify.publish(connection, wanted(kind="check_run", state=state), doorbell=RecordingDoorbell())
            seen.append(
                tuple(
                    connection.execute(
                        text("SELECT started_at IS NOT NULL, completed_at >= started_at FROM notify.commit_statuses")
                    ).one()
                )
            )
    assert seen == [(False, None), (True, None), (True, True), (True, None), (True, True)]


def test_a_value_of_the_domain_is_published_like_its_fields(database: Database) -> None:
    status = Status(
        forge="github",
        repository="acme/app",
        sha=SHA,
        context="ci/build",
        kind=StatusKind.CHECK_RUN,
        state=StatusState.IN_PROGRESS,
    )
    with database.begin() as connection:
        notify.publish(connection, status, doorbell=RecordingDoorbell())
    assert rows(database, "SELECT kind, state, output FROM notify.commit_statuses") == [
        ("check_run", "in_progress", None)
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sha": "abc"}, "sha"),
        ({"sha": "A" * 40}, "sha"),
        ({"repository": "acme"}, "repository"),
        ({"forge": "Git Hub"}, "forge"),
        ({"context": ""}, "context"),
        ({"context": "x" * 256}, "context"),
        ({"state": "done"}, "state"),
        ({"state": "in_progress"}, "state"),
        ({"kind": "check_run", "state": "error"}, "state"),
        ({"kind": "check_run", "state": "pending"}, "state"),
        ({"output": {"title": "t", "summary": "s"}}, "output"),
        ({"target_url": "javascript:alert(1)"}, "target_url"),
        ({"description": "two\nlines"}, "description"),
        ({"stat": "success"}, "stat"),
        (
            {
                "kind": "check_run",
                "state": "success",
                "output": {
                    "title": "t",
                    "summary": "s",
                    "annotations": [
                        {"path": "a.py", "start_line": 3, "end_line": 2, "level": "notice", "message": "m"}
                    ],
                },
            },
            "output.annotations.0.end_line",
        ),
    ],
)
def test_a_malformed_status_is_refused_and_the_field_is_named(
    database: Database, changes: Mapping[str, Any], field: str
) -> None:
    with database.begin() as connection, pytest.raises(MalformedStatus) as refused:
        notify.publish(connection, wanted(**changes), doorbell=RecordingDoorbell())
    assert refused.value.field == field
    assert rows(database, ROWS) == []
