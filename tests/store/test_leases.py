"""Due, claim, lease, attempt: what holds for letters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Row, Table, event, select, text, update
from sqlalchemy.engine.interfaces import CacheStats

from notify.domain.fan_out import Priority
from notify.store import outbox
from notify.store.database import Database
from notify.store.leases import Leases, Outlook
from tests.support import rows
from tests.support.race import all_at_once
from tests.support.statements import statements

LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A leased table, and how to put a row into it."""

    leases: Leases
    add: Callable[..., int]

    @property
    def table(self) -> Table:
        return self.leases.table

    def claim(self, connection: Connection, *, limit: int = 10, worker: UUID = WORKER) -> Sequence[Row[Any]]:
        return self.leases.claim(connection, limit=limit, lease=LEASE, worker=worker, wanted=self.wanted)

    def claim_lapsed(self, connection: Connection) -> Row[Any] | None:
        return self.leases.claim_lapsed(connection, lease=LEASE, worker=WORKER, wanted=self.wanted)

    def bury_poison(self, connection: Connection, *, limit: int = 10) -> Sequence[Row[Any]]:
        more = {"outcome_reason": "poison"} if self.table is outbox.LEASES.table else {}
        return self.leases.bury_poison(connection, limit=limit, wanted=[self.table.c.id], **more)

    @property
    def wanted(self) -> list[Any]:
        return [self.table.c.id, self.table.c.attempt, self.table.c.lapses, self.table.c.leased_by]


KINDS = [
    pytest.param(Kind(leases=outbox.LEASES, add=rows.letter), id="letters"),
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def put(database: Database, kind: Kind, **columns: Any) -> int:
    with database.begin() as connection:
        return kind.add(connection, **columns)


def claim(database: Database, kind: Kind, *, limit: int = 10) -> list[int]:
    with database.begin() as connection:
        return ids(kind.claim(connection, limit=limit))


def claim_lapsed(database: Database, kind: Kind) -> Row[Any] | None:
    with database.begin() as connection:
        return kind.claim_lapsed(connection)


def bury(database: Database, kind: Kind) -> list[int]:
    with database.begin() as connection:
        return ids(kind.bury_poison(connection))


def any_due(database: Database, kind: Kind) -> bool:
    with database.begin() as connection:
        return kind.leases.any_due(connection)


def outlook(database: Database, kind: Kind) -> Outlook:
    with database.begin() as connection:
        return kind.leases.outlook(connection)


def ids(found: Sequence[Row[Any]]) -> list[int]:
    return [row.id for row in found]


def test_two_workers_at_the_same_moment_never_take_the_same_row(database: Database, kind: Kind) -> None:
    there = {put(database, kind) for _ in range(6)}
    with database.begin() as first, database.begin() as second:
        taken_first = ids(kind.claim(first, limit=4))
        taken_second = ids(kind.claim(second, limit=4))
    assert len(taken_first) == 4
    assert len(taken_second) == 2
    assert {*taken_first, *taken_second} == there


def test_many_workers_together_take_every_row_exactly_once(database: Database, kind: Kind) -> None:
    with database.begin() as connection:
        there = {kind.add(connection) for _ in range(120)}

    def work() -> list[int]:
        taken: list[int] = []
        while found := claim(database, kind, limit=7):
            taken += found
        return taken

    taken = [row_id for worker in all_at_once([work] * 4) for row_id in worker]
    assert sorted(taken) == sorted(there)


def test_a_row_that_another_session_holds_is_passed_over_without_waiting(database: Database, kind: Kind) -> None:
    held, free = put(database, kind), put(database, kind)
    with database.begin() as other, database.begin() as worker:
        other.execute(select(kind.table.c.id).where(kind.table.c.id == held).with_for_update())
        worker.execute(text("SET LOCAL lock_timeout = '1ms'"))
        assert ids(kind.claim(worker)) == [free]


def test_a_lapsed_row_that_another_session_takes_is_passed_over_without_waiting(database: Database, kind: Kind) -> None:
    older, newer = put(database, kind), put(database, kind)
    claim(database, kind)
    rows.change(database, kind.table, older, due_at=rows.ago(seconds=2))
    rows.change(database, kind.table, newer, due_at=rows.ago(seconds=1))
    with database.begin() as first, database.begin() as second:
        second.execute(text("SET LOCAL lock_timeout = '1ms'"))
        taken = [kind.claim_lapsed(first), kind.claim_lapsed(second), kind.claim_lapsed(second)]
    assert [one.id if one else None for one in taken] == [older, newer, None]


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_a_claim_never_takes_more_than_its_limit(database: Database, kind: Kind, limit: int) -> None:
    with database.begin() as connection:
        for number in range(12):
            kind.add(connection, priority=number % 3)
    assert len(claim(database, kind, limit=limit)) == limit


def test_urgent_goes_before_normal_before_bulk_and_then_what_is_due_longest(database: Database, kind: Kind) -> None:
    expected = [
        put(database, kind, priority=priority, due_at=rows.ago(minutes=minutes))
        for priority, minutes in [
            (Priority.URGENT, 1),
            (Priority.URGENT, 1),
            (Priority.NORMAL, 9),
            (Priority.NORMAL, 5),
            (Priority.BULK, 30),
            (Priority.BULK, 20),
        ]
    ]
    with database.begin() as connection:
        for row_id in reversed(expected):  # so that the order on disk is another one
            connection.execute(update(kind.table).where(kind.table.c.id == row_id).values(attempt=0))
    with database.begin() as connection:
        together = ids(kind.claim(connection))
        connection.rollback()
    one_by_one = [row_id for _ in expected for row_id in claim(database, kind, limit=1)]
    assert one_by_one == expected
    assert together == expected


def test_a_claimed_row_is_nobody_elses_until_its_lease_ends(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    assert claim(database, kind) == [row_id]
    assert claim(database, kind) == []
    assert claim_lapsed(database, kind) is None
    assert not any_due(database, kind)


def test_a_row_whose_worker_vanished_comes_due_by_itself(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    claim(database, kind)
    rows.let_lease_end(database, kind.table, row_id)
    assert any_due(database, kind)
    found = claim_lapsed(database, kind)
    assert found is not None
    assert (found.id, found.attempt, found.lapses, found.has_lapsed) == (row_id, 2, 1, True)
    assert not any_due(database, kind)


def test_lapsed_rows_are_never_claimed_together_with_others(database: Database, kind: Kind) -> None:
    lapsed = [put(database, kind) for _ in range(2)]
    claim(database, kind)
    for age, row_id in enumerate(reversed(lapsed), start=1):
        rows.change(database, kind.table, row_id, due_at=rows.ago(seconds=age))
    fresh = put(database, kind)
    assert claim(database, kind) == [fresh]
    found = [claim_lapsed(database, kind) for _ in range(3)]
    assert [one.id if one else None for one in found] == [*lapsed, None]


@pytest.mark.parametrize("lapses", [1, 2, 3])
def test_a_row_that_has_lapsed_stays_alone_after_it_was_given_back(database: Database, kind: Kind, lapses: int) -> None:
    suspect, fresh = put(database, kind), put(database, kind)
    claim(database, kind)
    rows.change(database, kind.table, suspect, lapses=lapses)
    with database.begin() as connection:
        kind.leases.release(connection, [(suspect, 1), (fresh, 1)])

    assert claim(database, kind) == [fresh]
    found = claim_lapsed(database, kind)
    assert found is not None
    assert (found.id, found.attempt, found.lapses, found.has_lapsed) == (suspect, 2, lapses, False)
    assert bury(database, kind) == []
    assert claim_lapsed(database, kind) is None


def test_a_look_says_whether_there_is_work_and_whether_some_of_it_has_outlived_a_worker(
    database: Database, kind: Kind
) -> None:
    assert outlook(database, kind) == Outlook(due=False, alone=False)
    suspect = put(database, kind)
    assert outlook(database, kind) == Outlook(due=True, alone=False)
    claim(database, kind)
    assert outlook(database, kind) == Outlook(due=False, alone=False)
    rows.let_lease_end(database, kind.table, suspect)
    assert outlook(database, kind) == Outlook(due=True, alone=True)

    with database.begin() as connection:
        assert kind.claim_lapsed(connection)
        kind.leases.release(connection, [(suspect, 2)])
    assert outlook(database, kind) == Outlook(due=True, alone=True)


def test_a_look_sees_a_row_that_has_outlived_too_many_workers(database: Database, kind: Kind) -> None:
    suspect = put(database, kind)
    claim(database, kind)
    rows.change(database, kind.table, suspect, lapses=2, due_at=rows.ago(seconds=1))
    assert outlook(database, kind) == Outlook(due=True, alone=True)
    assert bury(database, kind) == [suspect]
    assert outlook(database, kind) == Outlook(due=False, alone=False)


def test_a_row_that_waits_for_the_future_is_not_taken_alone_either(database: Database, kind: Kind) -> None:
    put(database, kind, lapses=1, due_at=rows.ago(seconds=-60))
    assert claim_lapsed(database, kind) is None
    assert outlook(database, kind) == Outlook(due=False, alone=False)


def test_the_third_lapse_ends_a_row(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    claim(database, kind)
    for _ in range(2):
        rows.let_lease_end(database, kind.table, row_id)
        assert bury(database, kind) == []
        assert claim_lapsed(database, kind) is not None
    rows.let_lease_end(database, kind.table, row_id)
    assert claim_lapsed(database, kind) is None
    assert bury(database, kind) == [row_id]
    ended = rows.row(database, kind.table, row_id)
    assert (ended["status"], ended["lapses"], ended["failures"]) == ("dead", 3, 0)
    assert ended["due_at"] is None
    assert not any_due(database, kind)


def test_a_burial_ends_no_more_than_its_limit(database: Database, kind: Kind) -> None:
    row_ids = [put(database, kind) for _ in range(3)]
    claim(database, kind)
    for row_id in row_ids:
        rows.change(database, kind.table, row_id, lapses=2)
        rows.let_lease_end(database, kind.table, row_id)
    with database.begin() as connection:
        assert len(kind.bury_poison(connection, limit=2)) == 2
    assert len(bury(database, kind)) == 1


def test_the_attempt_rises_with_every_claim_and_never_falls(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    seen = []
    for _ in range(3):
        with database.begin() as connection:
            (found,) = kind.claim(connection)
        seen.append(found.attempt)
        with database.begin() as connection:
            kind.leases.release(connection, [(row_id, found.attempt)])
        seen.append(rows.row(database, kind.table, row_id)["attempt"])
    assert seen == [1, 1, 2, 2, 3, 3]


def test_a_row_says_which_worker_took_it_last(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    assert rows.row(database, kind.table, row_id)["leased_by"] is None
    worker = uuid4()
    with database.begin() as connection:
        kind.claim(connection, worker=worker)
    assert rows.row(database, kind.table, row_id)["leased_by"] == worker


def test_a_lease_is_renewed_only_under_the_attempt_that_holds_it(database: Database, kind: Kind) -> None:
    ours, lost, ended = (put(database, kind) for _ in range(3))
    claim(database, kind)
    rows.change(database, kind.table, lost, attempt=2)
    rows.change(database, kind.table, ended, **rows.ended("dead"), **why_dead(kind))
    before = [rows.row(database, kind.table, row_id) for row_id in (ours, lost, ended)]
    with database.begin() as connection:
        renewed = kind.leases.extend(connection, [(ours, 1), (lost, 1), (ended, 1)], lease=timedelta(hours=1))
    after = [rows.row(database, kind.table, row_id) for row_id in (ours, lost, ended)]
    assert renewed == {ours}
    assert after[1:] == before[1:]
    assert after[0]["due_at"] - before[0]["due_at"] > timedelta(minutes=58)
    assert after[0]["attempt"] == 1


def test_a_released_row_is_due_at_once_and_has_not_failed(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    claim(database, kind)
    with database.begin() as connection:
        assert kind.leases.release(connection, [(row_id, 1)]) == {row_id}
    released = rows.row(database, kind.table, row_id)
    assert (released["status"], released["failures"], released["lapses"]) == ("pending", 0, 0)
    assert claim(database, kind) == [row_id]


def test_a_row_that_is_no_longer_ours_cannot_be_released(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    claim(database, kind)
    rows.let_lease_end(database, kind.table, row_id)
    claim_lapsed(database, kind)
    before = rows.row(database, kind.table, row_id)
    with database.begin() as connection:
        assert kind.leases.release(connection, [(row_id, 1)]) == set()
    assert rows.row(database, kind.table, row_id) == before


def test_a_claim_that_was_never_answered_is_taken_back_by_its_worker_only(database: Database, kind: Kind) -> None:
    row_id = put(database, kind)
    claim(database, kind)
    with database.begin() as connection:
        assert kind.leases.take_back(connection, [(row_id, 1)], worker=uuid4()) == set()
        assert kind.leases.take_back(connection, [(row_id, 1)], worker=WORKER) == {row_id}
    assert claim(database, kind) == [row_id]
    with database.begin() as connection:
        assert kind.leases.take_back(connection, [(row_id, 1)], worker=WORKER) == set()


def test_renewing_and_releasing_nothing_asks_the_database_nothing(database: Database, kind: Kind) -> None:
    with statements(database) as sent, database.begin() as connection:
        assert kind.leases.extend(connection, [], lease=LEASE) == set()
        assert kind.leases.release(connection, []) == set()
    assert sent == []


def why_dead(kind: Kind) -> dict[str, str]:
    return {"outcome_reason": "test"} if kind.table is outbox.LEASES.table else {}


def test_no_statement_of_a_lease_is_compiled_anew_each_time(kind: Kind, connection: Connection) -> None:
    """Compiling costs a worker more than the server needs to claim a letter."""
    found: list[CacheStats] = []

    def note(_connection: Any, _cursor: Any, _sql: str, _parameters: Any, context: Any, _many: bool) -> None:
        found.append(context.cache_hit)

    def ask(limit: int) -> None:
        kind.leases.any_due(connection)
        kind.bury_poison(connection, limit=limit)
        kind.claim_lapsed(connection)
        taken = [(row.id, row.attempt) for row in kind.claim(connection, limit=limit)]
        kind.leases.extend(connection, taken, lease=LEASE)
        kind.leases.release(connection, taken)

    kind.add(connection)
    ask(10)
    event.listen(connection, "before_cursor_execute", note)
    ask(20)
    assert len(found) == 6
    assert set(found) == {CacheStats.CACHE_HIT}
