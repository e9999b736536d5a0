"""The state of the outbox, counted from rows in every state."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update

from notify.domain.preferences import Person
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.directory import directory
from notify.store.directory.directory import RefusedAddress
from notify.store.operations import gauges
from notify.store.operations.gauges import Gauges
from notify.store.tables.operations import delivery_stats
from notify.store.tables.people import people
from notify.wiring import STAGE_NAMES
from tests.support import rows
from tests.support.rows import ago, ended

EMPTY = Gauges(due=0, oldest_due_seconds=0, scheduled=0, in_flight=0, expired_leases=0, dead_last_day={})


def test_the_gauges_of_an_empty_outbox_are_zero(connection: Connection) -> None:
    assert gauges.read(connection, STAGE_NAMES) == dict.fromkeys(STAGE_NAMES, EMPTY)


def test_each_row_is_counted_under_its_state(connection: Connection) -> None:
    rows.event(connection, due_at=ago(seconds=90), priority=2)
    rows.event(connection, due_at=ago(seconds=-60), priority=0)
    rows.event(connection, due_at=ago(seconds=-60), status="working")
    rows.event(connection, due_at=ago(seconds=1), status="working")
    rows.event(connection, **ended("dead", at=ago(hours=1)), last_error="internal_error: KeyError")
    rows.event(connection, **ended("dead", at=ago(hours=2)), last_error="unknown_topic")
    rows.event(connection, **ended("dead", at=ago(hours=25)), last_error="unknown_topic")
    rows.event(connection, **ended("done", at=ago(hours=1)))

    assert gauges.read(connection, STAGE_NAMES)[FAN_OUT] == Gauges(
        due=2,
        oldest_due_seconds=90,
        scheduled=1,
        in_flight=1,
        expired_leases=1,
        dead_last_day={"internal_error": 1, "unknown_topic": 1},
    )


def test_dead_emails_are_counted_by_reason(connection: Connection) -> None:
    for reason in ("refused", "poison", "refused"):
        rows.job(connection, **ended("dead"), outcome_reason=reason)
    rows.job(connection, **ended("sent"))

    assert gauges.read(connection, STAGE_NAMES)[DELIVER].dead_last_day == {"refused": 2, "poison": 1}


def test_recently_ended_emails_are_those_counted_as_sent_and_the_newest_dead(connection: Connection) -> None:
    for seconds, reason in ((30, "oversize"), (10, "oversize"), (20, "refused")):
        rows.job(connection, **ended("dead", at=ago(seconds=seconds)), outcome_reason=reason)
    for outcome, minutes in (("sent", 0), ("sent", 5), ("retry", 0), ("sent", 20)):
        minute = func.date_trunc("minute", ago(minutes=minutes))
        values = {"minute": minute, "worker": UUID(int=1), "event_type": "t", "outcome": outcome, "count": 2}
        connection.execute(insert(delivery_stats).values(**values))
    rows.job(connection, **ended("skipped"))
    rows.job(connection, **ended("dead", at=ago(minutes=11)), outcome_reason="oversize")
    rows.job(connection)

    found = gauges.recently_ended(connection)

    assert found.sent == 4
    deaths = {one.reason: (one.count, one.first_at) for one in found.deaths}
    now = connection.execute(select(func.now())).scalar_one()
    assert deaths == {"oversize": (2, now - timedelta(seconds=30)), "refused": (1, now - timedelta(seconds=20))}


def test_an_address_counts_as_undeliverable_while_it_is_the_persons_address(connection: Connection) -> None:
    for name in ("alice", "bob", "carol"):
        directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    directory.mark_undeliverable(
        connection,
        [RefusedAddress(username=name, email=f"{name}@example.com", reply="no") for name in ("alice", "bob")],
    )
    assert gauges.undeliverable_addresses(connection) == 2

    connection.execute(
        update(people).where(people.c.username == "bob").values(email=func.concat("new-", people.c.email))
    )
    assert gauges.undeliverable_addresses(connection) == 1
