"""notify.emit: an event in the application's own transaction, and a doorbell after its commit."""

import gc
import threading
from collections.abc import Iterator, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import notify
from notify.domain.stages import FAN_OUT
from notify.store.connection_kinds import Caller
from notify.store.database import Database
from notify.store.tables.emails import events
from notify.store.tables.people import cl_reviewers
from notify.wiring import process_doorbell
from tests.support import applications, rows
from tests.support.applications import driver
from tests.support.defaults import DEFAULTS, defaults
from tests.support.doorbell import RecordingDoorbell
from tests.support.servers import in_words
from tests.support.wait import until


def comment(key: str = "k1", **changes: Any) -> Mapping[str, Any]:
    return {
        "key": key,
        "type": "cl.comment.created",
        "actor": "dana",
        "cl": {"link": "CL-1", "author": "alice"},
        "comment": {"id": "1", "body": "Why?"},
        **changes,
    }


class ReadingDoorbell(RecordingDoorbell):
    """A doorbell that reads, at each ring and over its own connection, which events are visible."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.saw: list[list[str]] = []
        self._database = database

    def ring(self, stage: str) -> None:
        with self._database.begin() as connection:
            self.saw.append(list(connection.scalars(select(events.c.key).order_by(events.c.id))))
        super().ring(stage)


@pytest.fixture
def doorbell(database: Database) -> Iterator[ReadingDoorbell]:
    """Waits for all rings before the database is closed, because it reads from it."""
    yield ReadingDoorbell(database)
    until(nothing_is_awaited)


@pytest.fixture(params=list(applications.ONE_OF_EACH.values()), ids=list(applications.ONE_OF_EACH))
def caller(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """An application's connection to the empty database, one of each library."""
    with request.param(in_words(database.engine.url)) as opened:
        yield opened


def nothing_is_awaited() -> bool:
    """Whether no thread of ours waits for a commit any more, so that no further ring will come."""
    return not any(thread.name == "after-commit" for thread in threading.enumerate())


def rings(doorbell: ReadingDoorbell) -> list[str]:
    """All rings, once no more will come."""
    until(nothing_is_awaited)
    return doorbell.rings


def test_the_doorbell_rings_after_the_commit_and_the_event_is_visible(
    caller: Caller, doorbell: ReadingDoorbell
) -> None:
    receipt = notify.emit(caller, comment(), doorbell=doorbell)
    assert not receipt.duplicate
    assert doorbell.rings == []
    caller.commit()
    assert rings(doorbell) == [FAN_OUT]
    assert doorbell.saw == [["k1"]]


def test_many_events_of_one_transaction_ring_once(caller: Caller, doorbell: ReadingDoorbell) -> None:
    for number in range(20):
        notify.emit(caller, comment(f"k{number:02}"), doorbell=doorbell)
    caller.commit()
    assert rings(doorbell) == [FAN_OUT]
    assert len(doorbell.saw[0]) == 20


def test_each_transaction_of_a_connection_rings_once(caller: Caller, doorbell: ReadingDoorbell) -> None:
    for number in range(3):
        notify.emit(caller, comment(f"k{number}"), doorbell=doorbell)
        caller.commit()
        assert len(rings(doorbell)) == number + 1
    assert doorbell.saw == [["k0"], ["k0", "k1"], ["k0", "k1", "k2"]]


def test_a_duplicate_event_does_not_ring(caller: Caller, doorbell: ReadingDoorbell) -> None:
    notify.emit(caller, comment(), doorbell=doorbell)
    caller.commit()
    before = len(rings(doorbell))
    assert notify.emit(caller, comment(), doorbell=doorbell).duplicate
    caller.commit()
    assert len(rings(doorbell)) == before


def test_the_receipt_of_a_different_event_with_a_known_key_names_what_differs(
    caller: Caller, doorbell: ReadingDoorbell
) -> None:
    notify.emit(caller, comment(), doorbell=doorbell)
    caller.commit()
    receipt = notify.emit(caller, comment(actor="erin"), doorbell=doorbell)
    caller.commit()
    assert (receipt.duplicate, receipt.differs) == (True, ("actor",))


def test_a_rolled_back_event_never_was(caller: Caller, doorbell: ReadingDoorbell, database: Database) -> None:
    notify.emit(caller, comment(), doorbell=doorbell)
    caller.rollback()
    rings(doorbell)
    assert not any(doorbell.saw)
    assert rows.count_of(database, events) == 0


def test_a_transaction_after_a_rolled_back_one_rings(caller: Caller, doorbell: ReadingDoorbell) -> None:
    notify.emit(caller, comment("lost"), doorbell=doorbell)
    caller.rollback()
    rings(doorbell)
    notify.emit(caller, comment("kept"), doorbell=doorbell)
    caller.commit()
    rings(doorbell)
    assert doorbell.saw[-1] == ["kept"]


def test_a_savepoint_does_not_ring(database: Database, doorbell: ReadingDoorbell) -> None:
    for opened in (applications.session, applications.connection):
        with opened(in_words(database.engine.url)) as caller:
            with caller.begin_nested():
                notify.emit(caller, comment(str(opened)), doorbell=doorbell)
            assert doorbell.rings == []
            caller.commit()
            assert rings(doorbell) == [FAN_OUT]
            doorbell.rings.clear()


def test_a_session_closed_without_a_commit_leaves_nothing(database: Database, doorbell: ReadingDoorbell) -> None:
    with Session(database.engine) as session:
        notify.emit(session, comment(), doorbell=doorbell)
    rings(doorbell)
    assert not any(doorbell.saw)


def test_a_connection_closed_without_a_commit_leaves_no_thread_waiting(
    database: Database, doorbell: ReadingDoorbell
) -> None:
    with driver()(in_words(database.engine.url)) as connection:
        notify.emit(connection, comment(), doorbell=doorbell)
    until(nothing_is_awaited)
    assert not any(doorbell.saw)


@pytest.mark.parametrize("name", applications.AUTOCOMMIT)
def test_in_autocommit_mode_the_doorbell_rings_at_once(
    name: str, database: Database, doorbell: ReadingDoorbell
) -> None:
    with applications.AUTOCOMMIT[name](in_words(database.engine.url)) as caller:
        notify.emit(caller, comment(), doorbell=doorbell)
        assert rings(doorbell) == [FAN_OUT]
    assert doorbell.saw == [["k1"]]


def test_a_malformed_event_is_refused_and_does_not_affect_the_transaction(
    caller: Caller, doorbell: ReadingDoorbell, database: Database
) -> None:
    notify.emit(caller, comment("good"), doorbell=doorbell)
    with pytest.raises(notify.MalformedEvent) as refused:
        notify.emit(caller, comment(actor=""), doorbell=doorbell)
    assert refused.value.field == "actor"
    caller.commit()
    rings(doorbell)
    assert rows.count_of(database, events) == 1


def test_a_scoped_session_works_like_its_session(database: Database, doorbell: ReadingDoorbell) -> None:
    scoped = scoped_session(sessionmaker(database.engine))

    receipt = notify.emit(scoped, comment(), doorbell=doorbell)
    scoped.rollback()
    kept = notify.emit(scoped, comment("k2"), doorbell=doorbell)
    scoped.commit()
    scoped.remove()

    until(lambda: doorbell.saw and doorbell.saw[-1] == [kept.key])
    assert receipt.key not in doorbell.saw[-1]


@pytest.mark.parametrize("thing", [None, "postgresql://db", object()], ids=["None", "text", "object"])
def test_something_that_is_no_connection_is_refused(thing: Any, doorbell: ReadingDoorbell) -> None:
    with pytest.raises(notify.UnsupportedConnection):
        notify.emit(thing, comment(), doorbell=doorbell)


def test_without_a_broker_an_event_is_still_stored(caller: Caller, database: Database) -> None:
    receipt = notify.emit(caller, comment())
    caller.commit()
    assert rows.row(database, events, receipt.id)["status"] == "pending"


WRONG: Mapping[str, Mapping[str, str]] = {
    "a typo": {"NOTIFY_BROKER_URI": "redis://:hunter2@broker"},
    "a senseless value": {"NOTIFY_LEASE_SECONDS": "soon"},
    "a senseless secret": {"NOTIFY_BROKER_URL": "sqs://key:hunter2@"},
    "half a relay": {"NOTIFY_SMTP_URL": "smtp://me:hunter2@relay"},
    "bytes that are no text": {"NOTIFY_MAIL_FROM_NAME": "Pr\udcfcfung"},
}


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A process that has emitted nothing yet, in this working folder."""
    monkeypatch.chdir(tmp_path)
    # Configuring logging by a dictionary, as import-linter does, disables the existing loggers.
    for name in ("notify.wiring", "notify.doorbell"):
        monkeypatch.setattr(getLogger(name), "disabled", False)
    process_doorbell.cache_clear()
    yield tmp_path
    process_doorbell.cache_clear()


@pytest.mark.usefixtures("fresh_process")
@pytest.mark.parametrize("environment", WRONG.values(), ids=list(WRONG))
def test_invalid_settings_do_not_fail_an_application(
    environment: Mapping[str, str],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    emits_and_warns_once(database, caplog)


@pytest.mark.parametrize("made", ["UTF-16", "a folder", "a link to nowhere"])
def test_an_unreadable_settings_file_does_not_fail_an_application(
    made: str, database: Database, fresh_process: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = fresh_process / ".env"
    if made == "UTF-16":
        file.write_bytes("NOTIFY_BROKER_URL=redis://:hunter2@broker".encode("utf-16"))
    elif made == "a folder":
        file.mkdir()
    else:
        file.symlink_to("nowhere")

    emits_and_warns_once(database, caplog)


def emits_and_warns_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with database.begin() as connection:
        receipts = [notify.emit(connection, comment(key)) for key in ("k1", "k2")]
    until(nothing_is_awaited)
    process_doorbell().flush(at_most_seconds=5)
    assert [rows.row(database, events, one.id)["status"] for one in receipts] == ["pending"] * 2
    (warning,) = [one for one in caplog.records if one.name.startswith("notify")]
    assert warning.levelname == "WARNING"
    assert "hunter2" not in warning.getMessage()


@pytest.mark.usefixtures("fresh_process")
def test_an_unreachable_broker_is_logged_by_the_application_and_never_printed(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NOTIFY_BROKER_URL", "redis://:hunter2@127.0.0.1:port/0")

    emits_and_warns_once(database, caplog)

    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("fresh_process")
def test_variables_set_by_systemd_and_kubernetes_do_not_disturb_an_application(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("NOTIFY_PORT", "tcp://10.0.0.9:8000")
    with database.begin() as connection:
        assert not notify.emit(connection, comment()).duplicate
    assert not caplog.records


@pytest.mark.parametrize("name", applications.EVERY)
def test_an_application_that_has_emitted_is_not_kept_in_memory(
    name: str, database: Database, doorbell: ReadingDoorbell
) -> None:
    def emit_and_go() -> ref[Caller]:
        with applications.EVERY[name](in_words(database.engine.url)) as caller:
            notify.emit(caller, comment(), doorbell=doorbell)
            caller.commit()
            return ref(caller)

    gone = emit_and_go()
    until(nothing_is_awaited)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *((name, "LATIN1") for name in applications.EVERY),
        *((name, "SQL_ASCII") for name in applications.EVERY if "psycopg" in name),  # SQLAlchemy cannot do that
    ],
)
def test_no_setting_of_an_applications_session_gets_in_the_way(
    name: str, encoding: str, database: Database, doorbell: ReadingDoorbell
) -> None:
    given = comment("schlüssel-漢字", cl={"link": "CL-漢", "title": "Łódź", "author": "josé", "reviewers": ["सुनीता"]})
    with (
        defaults(database.url, {**DEFAULTS["all there is"], "client_encoding": encoding}),
        applications.EVERY[name](in_words(database.engine.url)) as caller,
    ):
        receipts = [notify.emit(caller, given, doorbell=doorbell) for _ in range(2)]
        caller.commit()
        rings(doorbell)
    assert [(one.key, one.duplicate) for one in receipts] == [("schlüssel-漢字", False), ("schlüssel-漢字", True)]
    assert rows.row(database, events, receipts[1].id)["key"] == "schlüssel-漢字"
    with database.begin() as connection:
        assert connection.execute(select(cl_reviewers)).all() == [("CL-漢", "सुनीता")]
