"""Outcomes, counted in one row for each minute, worker, event type and outcome."""

from collections import Counter
from uuid import UUID

from sqlalchemy import func, select, update

from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import stats, upkeep
from notify.store.tables.operations import delivery_stats
from tests.support.race import blocked_session, meanwhile
from tests.support.statements import statements

ONE, OTHER = UUID(int=1), UUID(int=2)
COMMENT = "cl.comment.created"
KEPT = RetentionPeriods()


def count(database: Database, counts: dict[str, int], *, worker: UUID = ONE, event_type: str = COMMENT) -> None:
    with database.begin() as connection:
        stats.count(
            connection, worker=worker, counts=Counter({(event_type, outcome): n for outcome, n in counts.items()})
        )


def counted(database: Database) -> Counter[tuple[UUID, str, str]]:
    """The sums over all minutes."""
    columns = (delivery_stats.c.worker, delivery_stats.c.event_type, delivery_stats.c.outcome)
    query = select(*columns, func.sum(delivery_stats.c.count)).group_by(*columns)
    with database.begin() as connection:
        return Counter({(worker, kind, outcome): n for worker, kind, outcome, n in connection.execute(query)})


def test_counts_of_many_flushes_add_up(database: Database) -> None:
    count(database, {"sent": 48, "retry": 2})
    count(database, {"sent": 50})
    assert counted(database) == {(ONE, COMMENT, "sent"): 98, (ONE, COMMENT, "retry"): 2}


def test_workers_and_event_types_are_counted_separately(database: Database) -> None:
    count(database, {"sent": 1})
    count(database, {"sent": 2}, worker=OTHER)
    count(database, {"sent": 4}, event_type="cl.merged")
    assert counted(database) == {
        (ONE, COMMENT, "sent"): 1,
        (OTHER, COMMENT, "sent"): 2,
        (ONE, "cl.merged", "sent"): 4,
    }


def test_minutes_are_counted_separately(database: Database) -> None:
    count(database, {"sent": 1})
    with database.begin() as connection:
        connection.execute(
            update(delivery_stats).values(
                minute=func.date_trunc("minute", func.now()) - func.make_interval(0, 0, 0, 0, 1)
            )
        )
    count(database, {"sent": 1})
    with database.begin() as connection:
        minutes = connection.scalars(select(delivery_stats.c.minute)).all()
    assert len(minutes) == 2
    assert all((minute.second, minute.microsecond) == (0, 0) for minute in minutes)


def test_two_concurrent_flushes_of_one_worker_both_count(database: Database) -> None:
    count(database, {"sent": 1})
    with database.engine.connect() as first:
        stats.count(first, worker=ONE, counts=Counter({(COMMENT, "sent"): 10}))
        with meanwhile(count, database, {"sent": 100}) as second:
            blocked_session(database)
            first.commit()
            second.result()
    assert counted(database).total() == 111


def test_writing_no_counts_runs_no_statement(database: Database) -> None:
    with statements(database) as sent:
        count(database, {})
    assert sent == []


def let_minutes_pass(database: Database, minutes: int) -> None:
    """Move all counts back by this many minutes."""
    with database.begin() as connection:
        earlier = delivery_stats.c.minute - func.make_interval(0, 0, 0, 0, 0, minutes)
        connection.execute(update(delivery_stats).values(minute=earlier))


def totals(database: Database) -> Counter[tuple[str, str]]:
    with database.begin() as connection:
        return stats.totals(connection)


def fold(database: Database) -> None:
    with database.begin() as connection:
        stats.fold(connection)


def test_folding_and_pruning_do_not_change_the_totals(database: Database) -> None:
    count(database, {"sent": 3, "retry": 1})
    let_minutes_pass(database, 60 * 24 * 100)
    count(database, {"sent": 4}, worker=OTHER)
    let_minutes_pass(database, 20)
    count(database, {"sent": 5})
    expected = {(COMMENT, "sent"): 12, (COMMENT, "retry"): 1}

    assert totals(database) == expected
    for _ in range(2):
        fold(database)
        assert totals(database) == expected
    with database.begin() as connection:
        assert upkeep.prune_stats(connection, KEPT) == 2
    assert totals(database) == expected

    count(database, {"sent": 1})
    assert totals(database)[COMMENT, "sent"] == 13


def test_minutes_that_were_never_folded_are_not_lost_when_they_are_pruned(database: Database) -> None:
    count(database, {"sent": 3})
    let_minutes_pass(database, 60 * 24 * 100)

    with database.begin() as connection:
        upkeep.prune_stats(connection, KEPT)

    assert totals(database) == {(COMMENT, "sent"): 3}


def test_minutes_that_may_still_grow_are_not_folded(database: Database) -> None:
    count(database, {"sent": 1})
    fold(database)
    count(database, {"sent": 1})
    assert totals(database) == {(COMMENT, "sent"): 2}


def test_concurrent_folding_counts_nothing_twice(database: Database) -> None:
    count(database, {"sent": 7})
    let_minutes_pass(database, 30)
    with database.engine.connect() as first:
        stats.fold(first)
        with meanwhile(fold, database) as second:
            blocked_session(database)
            first.commit()
            second.result()
    assert totals(database) == {(COMMENT, "sent"): 7}
