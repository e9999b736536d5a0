"""notify.emit, publish and withdraw on every kind of connection that an application may have, blocking and not."""

from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from os import environ
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

import notify
from notify.domain.ports import Doorbell
from notify.domain.preferences import Person
from notify.domain.stages import FAN_OUT, STATUSES
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.tables.emails import events
from notify.store.tables.statuses import commit_statuses
from tests.support import fork_server, killed_before_the_ring
from tests.support.doorbell import RecordingDoorbell
from tests.support.harness import WorkerHarness, comment
from tests.support.servers import in_words
from tests.support.smtp import ScriptedRelay
from tests.support.transactions import AUTOCOMMIT, KINDS, TELL_OF_ROLLBACKS, Application, Open, application, event_loop
from tests.support.wait import until

STATUS = {
    "forge": "github",
    "repository": "acme/app",
    "sha": "a" * 40,
    "context": "ci",
    "kind": "status",
    "state": "success",
}


class Undone(Exception):
    """What an application raises to roll a savepoint back."""


@pytest.fixture(scope="module")
def loop() -> Iterator[AbstractEventLoop]:
    with event_loop() as running:
        yield running


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def app(request: pytest.FixtureRequest, database: Database, loop: AbstractEventLoop) -> Iterator[Application]:
    """An application with a connection of each kind to the empty database."""
    with opened(request.param, database, loop) as running:
        yield running


@contextmanager
def opened(kind: Open, database: Database, loop: AbstractEventLoop) -> Iterator[Application]:
    with application(kind, in_words(database.engine.url), loop) as running:
        yield running


def stored(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.scalars(select(events.c.key).order_by(events.c.key)))


def test_a_committed_event_is_stored_and_rung_for_once(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    first = app.emit(comment(key="k1"), doorbell=doorbell)
    second = app.emit(comment(key="k2"), doorbell=doorbell)
    assert (first.key, first.duplicate, second.duplicate) == ("k1", False, False)
    assert (stored(database), doorbell.rings) == ([], [])

    app.commit()

    assert stored(database) == ["k1", "k2"]
    until(lambda: doorbell.rings)
    assert doorbell.rings == [FAN_OUT]


def test_each_transaction_of_a_connection_rings(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    for number in (1, 2):
        app.emit(comment(key=f"k{number}"), doorbell=doorbell)
        app.commit()
        until(lambda expected=number: len(doorbell.rings) == expected)  # type: ignore[misc]
    assert stored(database) == ["k1", "k2"]


def test_a_rolled_back_event_was_never_emitted(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    app.emit(comment(key="lost"), doorbell=doorbell)
    app.rollback()
    assert stored(database) == []
    app.emit(comment(key="kept"), doorbell=doorbell)
    app.commit()
    assert stored(database) == ["kept"]


@pytest.mark.parametrize("kind", TELL_OF_ROLLBACKS.values(), ids=TELL_OF_ROLLBACKS)
def test_nothing_rings_for_a_rollback_that_the_library_tells_of(
    kind: Open, database: Database, loop: AbstractEventLoop, doorbell: RecordingDoorbell
) -> None:
    later = RecordingDoorbell()
    with opened(kind, database, loop) as app:
        app.emit(comment(key="lost"), doorbell=doorbell)
        app.rollback()
        app.emit(comment(key="kept"), doorbell=later)
        app.commit()
        until(lambda: later.rings)
    assert doorbell.rings == []


def test_a_released_savepoint_rings_for_nobody_and_is_kept(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    app.emit(comment(key="outer"), doorbell=doorbell)
    with app.savepoint():
        app.emit(comment(key="inner"), doorbell=doorbell)
        with app.savepoint():
            app.emit(comment(key="innermost"), doorbell=doorbell)
    assert (stored(database), doorbell.rings) == ([], [])
    app.commit()
    assert stored(database) == ["inner", "innermost", "outer"]
    until(lambda: doorbell.rings)
    assert doorbell.rings == [FAN_OUT]


def test_a_savepoint_that_is_rolled_back_takes_its_own_events_along(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    app.emit(comment(key="outer"), doorbell=doorbell)
    with suppress(Undone), app.savepoint():
        app.emit(comment(key="inner"), doorbell=doorbell)
        raise Undone
    assert (stored(database), doorbell.rings) == ([], [])
    app.commit()
    assert stored(database) == ["outer"]
    until(lambda: doorbell.rings)
    assert doorbell.rings == [FAN_OUT]


def test_a_known_key_is_a_duplicate_that_names_what_differs(app: Application, doorbell: RecordingDoorbell) -> None:
    app.emit(comment(key="k1"), doorbell=doorbell)
    app.commit()
    again = app.emit(comment(key="k1", actor="erin"), doorbell=doorbell)
    app.rollback()
    assert (again.duplicate, again.differs) == (True, ("actor",))


def test_a_malformed_event_is_refused_and_leaves_the_transaction_usable(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    with pytest.raises(notify.MalformedEvent) as refused:
        app.emit({**comment(key="k1"), "type": "cl.unknown!"}, doorbell=doorbell)
    assert refused.value.facts["field"] == "type"
    app.emit(comment(key="k2"), doorbell=doorbell)
    app.commit()
    assert stored(database) == ["k2"]


def test_a_status_is_published(app: Application, database: Database, doorbell: RecordingDoorbell) -> None:
    receipt = app.publish(STATUS, doorbell=doorbell)
    app.commit()
    with database.begin() as connection:
        assert connection.execute(select(commit_statuses.c.id, commit_statuses.c.context)).one() == (receipt.id, "ci")
    until(lambda: doorbell.rings)
    assert doorbell.rings == [STATUSES]


def test_an_event_is_withdrawn_unless_that_is_rolled_back(
    app: Application, database: Database, doorbell: RecordingDoorbell
) -> None:
    app.emit(comment(key="k1"), doorbell=doorbell)
    app.commit()
    assert app.withdraw("k1").key == "k1"
    app.rollback()
    assert status(database) == "pending"
    app.withdraw("k1")
    app.commit()
    assert status(database) == "withdrawn"


def status(database: Database) -> Any:
    with database.begin() as connection:
        return connection.scalar(select(events.c.status))


@pytest.mark.parametrize("kind", AUTOCOMMIT.values(), ids=AUTOCOMMIT)
def test_without_a_transaction_the_event_is_stored_at_once(
    kind: Open, database: Database, loop: AbstractEventLoop, doorbell: RecordingDoorbell
) -> None:
    with opened(kind, database, loop) as app:
        app.emit(comment(key="k1"), doorbell=doorbell)
        assert stored(database) == ["k1"]
        until(lambda: doorbell.rings)
    assert doorbell.rings == [FAN_OUT]


def test_a_prepared_transaction_is_told_once_another_connection_commits_it(
    database: Database, doorbell: RecordingDoorbell
) -> None:
    url = in_words(database.engine.url)
    with closing(psycopg.connect(url)) as connection, closing(psycopg.connect(url)) as other:
        name = connection.xid(1, "notify", "prepared")
        connection.tpc_begin(name)
        notify.emit(connection, comment(key="k1"), doorbell=doorbell)
        connection.tpc_prepare()
        assert stored(database) == []
        other.tpc_commit(name)
    assert stored(database) == ["k1"]
    doorbell.rings.clear()
    notify.ring(doorbell=doorbell)
    until(lambda: FAN_OUT in doorbell.rings)


@pytest.mark.parametrize("kind", ["Session", "AsyncSession on asyncpg", "psycopg", "async psycopg", "asyncpg"])
def test_an_application_killed_between_its_commit_and_the_ring_is_heard_once(
    database: Database, relay: ScriptedRelay, kind: str, tmp_path: Path
) -> None:
    harness = WorkerHarness(database, relay.url)
    with database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
    url = in_words(database.engine.url)
    module, log = killed_before_the_ring.__name__, tmp_path / "application.log"
    killed = fork_server.start(module, url, kind, environment=environ, log=log)
    assert killed.wait(60) == -SIGKILL, log.read_text()
    for _ in range(2):
        harness.fan_out()
        harness.drain()
    assert [email.recipient for email in relay.emails] == ["ann@example.com"]


def test_rings_can_be_asked_for(doorbell: Doorbell) -> None:
    notify.ring(doorbell=doorbell)
    assert isinstance(doorbell, RecordingDoorbell)
    until(lambda: set(doorbell.rings) == {FAN_OUT, STATUSES})


async def types_are_known(blocking: psycopg.Connection[Any], awaited: "psycopg.AsyncConnection[Any]") -> None:
    """Read by the type checker alone."""
    one = notify.emit(blocking, {})
    other = await notify.emit(awaited, {})
    assert one.id == other.id
    assert notify.publish(blocking, {}).id == (await notify.publish(awaited, {})).id
    assert notify.withdraw(blocking, "").id == (await notify.withdraw(awaited, "")).id
