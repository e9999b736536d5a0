"""Events emitted in Django's transaction are committed with it, and ring after that."""

from contextlib import closing, suppress

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import ProgrammingError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import Client, TestCase, override_settings
from redis import Redis
from sqlalchemy import select

from notify import MalformedEvent, MalformedStatus, NoSuchEvent
from notify.contrib.django import NotInAtomicBlock, UnsupportedDatabase, emit, publish, withdraw
from notify.contrib.django.configuration import process_doorbell
from notify.domain.stages import FAN_OUT, STATUSES
from notify.store.database import Database
from notify.store.tables.emails import events
from notify.store.tables.statuses import commit_statuses
from notify.testing import Emitted
from tests.support.django_project import comment
from tests.support.doorbell import RecordingDoorbell

pytestmark = pytest.mark.usefixtures("project")

STATUS = {"forge": "github", "repository": "a/b", "sha": "a" * 40, "context": "ci", "state": "success"}


class Failure(Exception):
    """The application's own."""


def stored(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.scalars(select(events.c.key).order_by(events.c.id)))


def statuses(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.scalars(select(events.c.status)))


def test_an_event_is_committed_with_its_block_and_rings_then(project: Database, doorbell: RecordingDoorbell) -> None:
    with transaction.atomic():
        receipt = emit(comment("k1"), doorbell=doorbell)
        assert (receipt.key, receipt.duplicate) == ("k1", False)
        assert stored(project) == []
        assert doorbell.rings == []
    assert stored(project) == ["k1"]
    assert doorbell.rings == [FAN_OUT]


def test_what_is_rolled_back_never_was_and_does_not_ring(project: Database, doorbell: RecordingDoorbell) -> None:
    with suppress(Failure), transaction.atomic():
        emit(comment("lost"), doorbell=doorbell)
        raise Failure
    with transaction.atomic():
        with suppress(Failure), transaction.atomic():
            emit(comment("lost with its savepoint"), doorbell=doorbell)
            raise Failure
        assert stored(project) == []
    assert doorbell.rings == []
    with transaction.atomic(durable=True):
        with transaction.atomic():
            emit(comment("kept"), doorbell=doorbell)
        with transaction.atomic(savepoint=False):
            emit(comment("kept too"), doorbell=doorbell)
    assert stored(project) == ["kept", "kept too"]
    assert set(doorbell.rings) == {FAN_OUT}


def test_a_block_on_another_alias_does_not_count(project: Database, doorbell: RecordingDoorbell) -> None:
    with transaction.atomic(), pytest.raises(NotInAtomicBlock, match=r"transaction\.atomic\(\).*using: other"):
        emit(comment(), using="other", doorbell=doorbell)
    with transaction.atomic(using="other"):
        emit(comment(), using="other", doorbell=doorbell)
    assert stored(project) == ["k1"]
    assert doorbell.rings == [FAN_OUT]


def test_without_a_block_nothing_is_emitted(project: Database) -> None:
    with pytest.raises(NotInAtomicBlock):
        emit(comment())
    with pytest.raises(NotInAtomicBlock):
        publish(STATUS)
    transaction.set_autocommit(False)
    with pytest.raises(NotInAtomicBlock):
        emit(comment())
    transaction.rollback()
    transaction.set_autocommit(True)
    assert stored(project) == []


def test_another_database_than_postgresql_is_refused() -> None:
    with transaction.atomic(using="sqlite"), pytest.raises(UnsupportedDatabase, match=r"PostgreSQL.*psycopg 3.*sqlite"):
        emit(comment(), using="sqlite")


def test_a_duplicate_rings_nobody_and_names_what_differs(doorbell: RecordingDoorbell) -> None:
    with transaction.atomic():
        emit(comment(), doorbell=doorbell)
    with transaction.atomic():
        receipt = emit(comment(actor="erin"), doorbell=doorbell)
    assert (receipt.duplicate, receipt.differs) == (True, ("actor",))
    assert doorbell.rings == [FAN_OUT]


def test_a_malformed_event_or_status_leaves_the_block_usable(project: Database) -> None:
    with transaction.atomic():
        with pytest.raises(MalformedEvent, match="actor"):
            emit(comment(actor=""))
        with pytest.raises(MalformedEvent, match="occurred_at"):
            emit(comment(occurred_at="2999-01-01T00:00:00Z"))
        with pytest.raises(MalformedStatus, match="sha"):
            publish({**STATUS, "sha": "short"})
        emit(comment("kept"))
    assert stored(project) == ["kept"]


def test_a_block_that_must_be_rolled_back_takes_no_more() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            emit(comment())


def test_an_error_of_the_database_is_one_of_djangos() -> None:
    with suppress(Failure), transaction.atomic():
        with connections["default"].cursor() as cursor:
            cursor.execute("ALTER SCHEMA notify RENAME TO elsewhere")
        with pytest.raises(ProgrammingError):
            emit(comment())
        raise Failure


def test_a_status_is_published_with_its_block(project: Database, doorbell: RecordingDoorbell) -> None:
    with suppress(Failure), transaction.atomic():
        publish({**STATUS, "context": "lost"}, doorbell=doorbell)
        raise Failure
    assert doorbell.rings == []
    with transaction.atomic():
        assert publish(STATUS, doorbell=doorbell).version == 1
    assert doorbell.rings == [STATUSES]
    with project.begin() as connection:
        assert list(connection.scalars(select(commit_statuses.c.context))) == ["ci"]


def test_an_event_is_withdrawn_with_its_block_or_not_at_all(project: Database) -> None:
    with transaction.atomic():
        emit(comment())
    with pytest.raises(NotInAtomicBlock):
        withdraw("k1")
    with suppress(Failure), transaction.atomic():
        withdraw("k1")
        raise Failure
    assert statuses(project) == ["pending"]
    with transaction.atomic():
        with pytest.raises(NoSuchEvent):
            withdraw("k2")
        assert not withdraw("k1").people
    assert statuses(project) == ["withdrawn"]


def test_a_request_that_fails_emits_nothing(project: Database) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/says?key=kept").status_code == 200
    assert client.get("/says?key=lost&fail=").status_code == 500
    assert stored(project) == ["kept"]


def test_a_coroutine_emits_by_way_of_sync_to_async_only(project: Database) -> None:
    def block() -> None:
        with transaction.atomic():
            emit(comment())

    async def view() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            emit(comment())
        await sync_to_async(block)()

    async_to_sync(view)()
    assert stored(project) == ["k1"]


def test_the_doorbell_rings_the_broker_that_djangos_settings_name(broker_url: str) -> None:
    process_doorbell.cache_clear()
    with override_settings(NOTIFY={"BROKER_URL": broker_url}), transaction.atomic():
        emit(comment())
    process_doorbell().flush(at_most_seconds=10)
    process_doorbell.cache_clear()
    with closing(Redis.from_url(broker_url)) as client:
        assert client.llen("notify.fan_out") == 1


class ATestCase(TestCase):
    """Django's own, whose block around each test never commits."""

    def test_callbacks_are_captured_and_the_tests_own_block_does_not_count(self) -> None:
        doorbell = RecordingDoorbell()
        with pytest.raises(NotInAtomicBlock):
            emit(comment(), doorbell=doorbell)
        with self.captureOnCommitCallbacks(execute=True) as callbacks, transaction.atomic():
            emit(comment(), doorbell=doorbell)
        assert len(callbacks) == 1
        assert doorbell.rings == [FAN_OUT]


class TestRecorded:
    """With the fixture ``emitted``, on any database and none of notify's."""

    @pytest.fixture(params=["default", "sqlite"])
    def using(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_what_is_rolled_back_was_never_emitted(self, emitted: Emitted, using: str, project: Database) -> None:
        with suppress(Failure), transaction.atomic(using):
            emit(comment("lost"), using)
            assert "lost" in emitted
            raise Failure
        assert not len(emitted)
        with transaction.atomic(using):
            with suppress(Failure), transaction.atomic(using):
                emit(comment("lost"), using)
                publish(STATUS, using)
                raise Failure
            assert not len(emitted)
            emit(comment("kept"), using)
            publish(STATUS, using)
        assert [event.key for event in emitted] == ["kept"]
        assert [status.context for status in emitted.statuses] == ["ci"]
        assert stored(project) == []

    def test_a_withdrawal_that_is_rolled_back_never_was(self, emitted: Emitted, using: str) -> None:
        with transaction.atomic(using):
            emit(comment(), using)
            with suppress(Failure), transaction.atomic(using):
                withdraw("k1", using)
                raise Failure
            assert emitted.withdrawn == []
            withdraw("k1", using)
        assert emitted.withdrawn == ["k1"]

    @pytest.mark.usefixtures("emitted")
    def test_what_the_door_refuses_is_refused(self, using: str) -> None:
        with pytest.raises(NotInAtomicBlock):
            emit(comment(), using)
        with transaction.atomic(using), pytest.raises(MalformedEvent):
            emit(comment(actor=""), using)


class ARecordedTestCase(TestCase):
    """Its block is never committed, and still a savepoint in it that is rolled back takes its events along."""

    @pytest.fixture(autouse=True)
    def _emitted(self, emitted: Emitted) -> None:
        self.emitted = emitted

    def test_events_are_seen_though_nothing_is_committed(self) -> None:
        with suppress(Failure), transaction.atomic():
            emit(comment("lost"))
            raise Failure
        with transaction.atomic():
            emit(comment("kept"))
        assert [event.key for event in self.emitted] == ["kept"]
