"""The fixture ``emitted``: what an application emitted in a test, with neither a database nor a broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import notify
from notify.domain.errors import MalformedEvent, MalformedStatus, UnsupportedConnection
from notify.testing import Emitted

SHA = "a" * 40


class Failure(Exception):
    """The application's own."""


def comment(key: str | None = "k1", **changes: Any) -> dict[str, Any]:
    event = {"type": "cl.comment.created", "actor": "dana", "cl": {"link": "CL-1"}, "comment": {"id": "1", "body": "?"}}
    return {**event, **({"key": key} if key else {}), **changes}


def status(**changes: Any) -> dict[str, Any]:
    return {"forge": "github", "repository": "a/b", "sha": SHA, "context": "ci", "state": "success", **changes}


@contextmanager
def session() -> Iterator[Session]:
    with Session(create_engine("sqlite://")) as opened:
        yield opened


@contextmanager
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://", poolclass=pool.NullPool).connect() as opened:
        yield opened


@pytest.fixture(params=[session, connection])
def caller(request: pytest.FixtureRequest) -> Iterator[Session | Connection]:
    with request.param() as opened:
        yield opened


def test_events_are_found_by_type_and_key_without_a_database(emitted: Emitted) -> None:
    with Session() as without_an_engine:
        notify.emit(without_an_engine, comment("k1"))
        notify.emit(without_an_engine, comment("k2", type="cl.created", comment=None))
        without_an_engine.commit()
    assert [event.key for event in emitted] == ["k1", "k2"]
    assert emitted["k1"].comment == emitted.one("cl.comment.created").comment
    assert [event.key for event in emitted.of("cl.created")] == ["k2"]
    assert emitted.of("cl.merged") == []
    assert "k1" in emitted
    assert "k3" not in emitted


def test_an_event_without_a_key_gets_one_that_its_receipt_names(emitted: Emitted) -> None:
    receipt = notify.emit(Session(), comment(key=None))
    assert receipt.key in emitted


def test_a_known_key_is_a_duplicate_that_names_what_differs(emitted: Emitted) -> None:
    first = notify.emit(Session(), comment())
    second = notify.emit(Session(), comment(actor="erin"))
    assert (first.duplicate, second.duplicate, second.id == first.id) == (False, True, True)
    assert second.differs == ("actor",)
    assert [event.actor for event in emitted] == ["dana"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"type": "cl.comented"}, "type"),
        ({"cl": {"lnk": "CL-1"}}, "cl.link"),
        ({"occurred_at": datetime.now(UTC) + timedelta(hours=1)}, "occurred_at"),
    ],
)
def test_what_the_door_refuses_is_refused(emitted: Emitted, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedEvent) as refused:
        notify.emit(Session(), comment(**wrong))
    assert refused.value.field == field
    assert not len(emitted)


def test_what_is_no_connection_is_refused(emitted: Emitted) -> None:
    with pytest.raises(UnsupportedConnection):
        notify.emit(create_engine("sqlite://"), comment())  # type: ignore[call-overload]
    with pytest.raises(UnsupportedConnection):
        notify.publish(create_engine("sqlite://"), status())  # type: ignore[call-overload]
    assert not len(emitted)


def test_what_is_rolled_back_was_never_emitted(emitted: Emitted, caller: Session | Connection) -> None:
    notify.emit(caller, comment("lost"))
    notify.publish(caller, status())
    caller.rollback()
    assert len(emitted) == 0
    assert emitted.statuses == []
    assert not notify.emit(caller, comment("lost")).duplicate
    caller.commit()
    notify.emit(caller, comment("lost as well"))
    caller.rollback()
    assert [event.key for event in emitted] == ["lost"]


@pytest.mark.parametrize("opened", [session, connection])
def test_what_is_closed_without_a_commit_was_never_emitted(emitted: Emitted, opened: Callable[[], Any]) -> None:
    with opened() as caller:
        notify.emit(caller, comment())
        assert "k1" in emitted
    assert len(emitted) == 0


@pytest.mark.parametrize("known_before", [False, True])
def test_a_savepoint_that_is_rolled_back_takes_its_own_events_along(
    emitted: Emitted, caller: Session | Connection, *, known_before: bool
) -> None:
    if known_before:
        notify.emit(caller, comment("before"))
    with suppress(Failure), caller.begin_nested():
        with caller.begin_nested():
            notify.emit(caller, comment("released inside"))
        notify.emit(caller, comment("lost"))
        raise Failure
    with caller.begin_nested():
        notify.emit(caller, comment("released"))
    caller.commit()
    assert [event.key for event in emitted] == [*(["before"] if known_before else []), "released"]


def test_a_released_savepoint_is_lost_with_its_transaction(emitted: Emitted, caller: Session | Connection) -> None:
    with caller.begin_nested():
        notify.emit(caller, comment())
    caller.rollback()
    assert len(emitted) == 0


def test_a_scoped_session_is_followed_to_its_session(emitted: Emitted) -> None:
    scoped = scoped_session(sessionmaker(create_engine("sqlite://")))
    notify.emit(scoped, comment("lost"))
    scoped.rollback()
    notify.emit(scoped, comment("kept"))
    scoped.commit()
    scoped.remove()
    assert [event.key for event in emitted] == ["kept"]


def test_what_another_thread_emits_is_recorded(emitted: Emitted) -> None:
    def request() -> None:
        with session() as opened:
            notify.emit(opened, comment())
            opened.commit()

    thread = Thread(target=request)
    thread.start()
    thread.join()
    assert "k1" in emitted


def test_statuses_count_their_versions_per_target(emitted: Emitted) -> None:
    receipts = [notify.publish(Session(), status(context=context)) for context in ("ci", "lint", "ci")]
    assert [one.version for one in receipts] == [1, 1, 2]
    assert receipts[0].id == receipts[2].id != receipts[1].id
    assert [one.context for one in emitted.statuses] == ["ci", "lint", "ci"]
    with pytest.raises(MalformedStatus, match="sha"):
        notify.publish(Session(), status(sha="short"))


def test_a_type_that_nothing_can_emit_is_refused_in_an_assertion(emitted: Emitted) -> None:
    with pytest.raises(ValueError, match=r"did you mean cl\.comment\.created"):
        emitted.of("cl.coment.created")


def test_a_failed_lookup_says_what_was_emitted(emitted: Emitted) -> None:
    notify.emit(Session(), comment("k1"))
    with pytest.raises(KeyError, match=r"cl\.comment\.created 'k1'"):
        emitted["k2"]
    with pytest.raises(AssertionError, match=r"found 0 in Emitted\(cl\.comment\.created 'k1'\)"):
        emitted.one("cl.created")


def test_nothing_is_recorded_once_the_test_is_over(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("""
        import sys
        from notify import recording

        def test_nothing_heavy_is_imported_before_a_fixture_is_used():
            assert not {"pydantic", "sqlalchemy", "celery", "notify.intake"} & set(sys.modules)

        def test_one(emitted):
            assert recording.recorder is not None
            assert not len(emitted)
            assert len(emitted) == 1

        def test_two():
            assert recording.recorder is None
        """)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    ran = pytester.runpytest_subprocess("-p", "notify.pytest_plugin")
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*len(Emitted())*"])


def test_a_withdrawal_is_recorded_unless_it_is_rolled_back(caller: Session | Connection, emitted: Emitted) -> None:
    notify.emit(caller, comment("k1"))
    caller.commit()
    notify.withdraw(caller, "k1")
    caller.rollback()
    assert emitted.withdrawn == []
    assert notify.withdraw(caller, "k1").people == ()
    caller.commit()
    assert (emitted.withdrawn, "k1" in emitted) == (["k1"], True)
    assert notify.emit(caller, comment("k1")).withdrawn
    with pytest.raises(notify.NoSuchEvent):
        notify.withdraw(caller, "k2")
