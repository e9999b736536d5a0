"""How the outbox stands, counted from rows in every state."""

from sqlalchemy import Connection, func, update

from notify.domain.jobs import Stage
from notify.domain.preferences import Person
from notify.store import directory, gauges
from notify.store.directory import Undeliverable
from notify.store.gauges import Gauges
from notify.store.tables import people
from tests.support import rows
from tests.support.rows import ago, ended

EMPTY = Gauges(due=0, oldest_due_seconds=0, scheduled=0, in_flight=0, expired_leases=0, dead_last_day={})


def test_an_empty_outbox_stands_at_nothing(connection: Connection) -> None:
    assert gauges.read(connection) == {Stage.FAN_OUT: EMPTY, Stage.DELIVER: EMPTY}


def test_each_row_is_counted_where_it_stands(connection: Connection) -> None:
    rows.event(connection, due_at=ago(seconds=90), priority=2)
    rows.event(connection, due_at=ago(seconds=-60), priority=0)
    rows.event(connection, due_at=ago(seconds=-60), status="working")
    rows.event(connection, due_at=ago(seconds=1), status="working")
    rows.event(connection, **ended("dead", at=ago(hours=1)), last_error="internal_error: KeyError")
    rows.event(connection, **ended("dead", at=ago(hours=2)), last_error="unknown_cl")
    rows.event(connection, **ended("dead", at=ago(hours=25)), last_error="unknown_cl")
    rows.event(connection, **ended("done", at=ago(hours=1)))

    assert gauges.read(connection)[Stage.FAN_OUT] == Gauges(
        due=2,
        oldest_due_seconds=90,
        scheduled=1,
        in_flight=1,
        expired_leases=1,
        dead_last_day={"internal_error": 1, "unknown_cl": 1},
    )


def test_letters_that_died_are_counted_by_why(connection: Connection) -> None:
    for reason in ("refused", "poison", "refused"):
        rows.letter(connection, **ended("dead"), outcome_reason=reason)
    rows.letter(connection, **ended("sent"))

    assert gauges.read(connection)[Stage.DELIVER].dead_last_day == {"refused": 2, "poison": 1}


def test_an_address_is_undeliverable_while_it_is_the_persons(connection: Connection) -> None:
    for name in ("alice", "bob", "carol"):
        directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    directory.mark_undeliverable(
        connection,
        [Undeliverable(username=name, email=f"{name}@example.com", reply="no") for name in ("alice", "bob")],
    )
    assert gauges.undeliverable_addresses(connection) == 2

    connection.execute(
        update(people).where(people.c.username == "bob").values(email=func.concat("new-", people.c.email))
    )
    assert gauges.undeliverable_addresses(connection) == 1
