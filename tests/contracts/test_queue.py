"""Due, claim, lease, attempt: the contract of every stage's work items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select, text, update

from notify.domain.claims import Claim, Lane
from notify.domain.stages import DELIVER, FAN_OUT, INBOX, RECONCILE, STATUSES
from notify.store.database import Database
from notify.store.outbox import items
from notify.store.outbox.items import DueItems, ItemOutcome
from notify.store.tables.emails import work_items
from tests.support import rows
from tests.support.race import all_at_once
from tests.support.statements import statements

LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)
TOY = "toy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The work items of one stage."""

    database: Database
    stage: str
    add: Callable[..., int]
    ordered: bool

    def put(self, **columns: object) -> int:
        """Insert an item that is due now; its id."""
        with self.database.begin() as connection:
            return self.add(connection, **columns)

    def claim_in(self, connection: Connection, *, limit: int = 10, worker: UUID = WORKER) -> list[Claim]:
        return items.claim(connection, self.stage, limit=limit, lease=LEASE, worker=worker, ordered=self.ordered)

    def claim(self, *, limit: int = 10, worker: UUID = WORKER) -> list[Claim]:
        with self.database.begin() as connection:
            return self.claim_in(connection, limit=limit, worker=worker)

    def claim_lapsed(self) -> Claim | None:
        with self.database.begin() as connection:
            return items.claim_lapsed(connection, self.stage, lease=LEASE, worker=WORKER)

    def bury(self, *, limit: int = 10) -> list[int]:
        with self.database.begin() as connection:
            return [item_id for item_id, _ in items.bury_poison(connection, self.stage, limit=limit)]

    def settle(self, *endings: ItemOutcome) -> set[int]:
        with self.database.begin() as connection:
            return {item_id for item_id, _ in items.settle(connection, self.stage, endings)}

    def outlook(self) -> DueItems:
        with self.database.begin() as connection:
            return items.due_items(connection, self.stage)

    def change(self, item_id: int, **columns: object) -> None:
        rows.change_item(self.database, self.stage, item_id, **columns)

    def let_lease_end(self, item_id: int) -> None:
        """End the lease of an item whose worker has vanished."""
        self.change(item_id, due_at=rows.ago(seconds=1))

    def state(self, item_id: int) -> dict[str, object] | None:
        found = rows.item_of(self.database, self.stage, item_id)
        return None if found is None else dict(found)

    def lane(self, item_id: int) -> Lane:
        found = self.state(item_id)
        assert found is not None
        return Lane(found["lane"])  # type: ignore[arg-type]


def toy(connection: Connection, **columns: object) -> int:
    next_id = connection.scalar(text("SELECT coalesce(max(id), 0) + 1 FROM notify.work_items WHERE stage = 'toy'"))
    assert next_id is not None
    return rows.item(connection, TOY, next_id, **columns)


def event(connection: Connection, **columns: object) -> int:
    """An event on a change list of its own."""
    return rows.event(connection, **{"topic": f"CL-{uuid4()}", **columns})


ADD: dict[str, Callable[..., int]] = {
    FAN_OUT: event,
    DELIVER: rows.job,
    INBOX: rows.delivery,
    RECONCILE: rows.repository,
    STATUSES: rows.status,
    TOY: toy,
}


@pytest.fixture(params=ADD)
def queue(request: pytest.FixtureRequest, database: Database) -> Iterator[Queue]:
    others = [stage for stage in ADD if stage != request.param]
    with database.begin() as connection:
        strangers = {stage: ADD[stage](connection) for stage in others}
    yield Queue(database=database, stage=request.param, add=ADD[request.param], ordered=request.param == FAN_OUT)
    for stage, stranger in strangers.items():
        untouched = rows.item_of(database, stage, stranger)
        assert untouched is not None
        assert untouched["attempt"] == 0


def ids(claims: list[Claim]) -> list[int]:
    return [one.id for one in claims]


def test_two_workers_at_the_same_moment_never_take_the_same_item(queue: Queue) -> None:
    there = {queue.put() for _ in range(6)}
    with queue.database.begin() as first, queue.database.begin() as second:
        taken_first = ids(queue.claim_in(first, limit=4))
        taken_second = ids(queue.claim_in(second, limit=4))
    assert len(taken_first) == 4
    assert len(taken_second) == 2
    assert {*taken_first, *taken_second} == there


def test_many_workers_together_take_every_item_exactly_once(queue: Queue) -> None:
    with queue.database.begin() as connection:
        there = {queue.add(connection) for _ in range(120)}

    def work() -> list[int]:
        taken: list[int] = []
        while found := queue.claim(limit=7):
            taken += ids(found)
        return taken

    taken = [item_id for worker in all_at_once([work] * 4) for item_id in worker]
    assert sorted(taken) == sorted(there)


def test_an_item_locked_by_another_session_is_passed_over_without_waiting(queue: Queue) -> None:
    locked, free = queue.put(), queue.put()
    with queue.database.begin() as other, queue.database.begin() as worker:
        named = (work_items.c.stage == queue.stage) & (work_items.c.id == locked)
        other.execute(select(work_items.c.id).where(named).with_for_update())
        worker.execute(text("SET LOCAL lock_timeout = '1ms'"))
        assert ids(queue.claim_in(worker)) == [free]


def test_a_lapsed_item_that_another_session_takes_is_passed_over_without_waiting(queue: Queue) -> None:
    older, newer = queue.put(), queue.put()
    queue.claim()
    queue.change(older, due_at=rows.ago(seconds=2))
    queue.change(newer, due_at=rows.ago(seconds=1))
    with queue.database.begin() as first, queue.database.begin() as second:
        second.execute(text("SET LOCAL lock_timeout = '1ms'"))
        taken = [items.claim_lapsed(one, queue.stage, lease=LEASE, worker=WORKER) for one in (first, second, second)]
    assert [one.id if one else None for one in taken] == [older, newer, None]


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_a_claim_never_takes_more_than_its_limit(queue: Queue, limit: int) -> None:
    for number in range(12):
        queue.put(lane=number % 3)
    assert len(queue.claim(limit=limit)) == limit


def test_urgent_items_go_before_normal_before_bulk_and_then_those_due_longest(queue: Queue) -> None:
    expected = [
        queue.put(lane=lane, due_at=rows.ago(minutes=minutes))
        for lane, minutes in [
            (Lane.URGENT, 1),
            (Lane.URGENT, 1),
            (Lane.NORMAL, 9),
            (Lane.NORMAL, 5),
            (Lane.BULK, 30),
            (Lane.BULK, 20),
        ]
    ]
    with queue.database.begin() as connection:
        for item_id in reversed(expected):  # so that the order on disk is different
            connection.execute(update(work_items).where(work_items.c.id == item_id).values(attempt=0))
    with queue.database.begin() as connection:
        together = ids(queue.claim_in(connection))
        connection.rollback()
    one_by_one = [item_id for _ in expected for item_id in ids(queue.claim(limit=1))]
    assert one_by_one == expected
    assert together == expected


def test_a_claim_has_the_items_state_and_how_long_it_had_been_due(queue: Queue) -> None:
    item_id = queue.put(lane=Lane.BULK, due_at=rows.ago(seconds=90), failures=2, max_failures=7)
    (found,) = queue.claim()
    assert (found.id, found.attempt, found.lane, found.failures, found.max_failures) == (item_id, 1, Lane.BULK, 2, 7)
    assert 90 <= found.waited < 120


def test_nobody_else_gets_a_claimed_item_until_its_lease_ends(queue: Queue) -> None:
    item_id = queue.put()
    assert ids(queue.claim()) == [item_id]
    assert queue.claim() == []
    assert queue.claim_lapsed() is None
    assert queue.outlook() == DueItems(any=False, lapsed=False)


def test_an_item_whose_worker_vanished_comes_due_by_itself(queue: Queue) -> None:
    item_id = queue.put()
    queue.claim()
    queue.let_lease_end(item_id)
    assert queue.outlook() == DueItems(any=True, lapsed=True)
    found = queue.claim_lapsed()
    assert found is not None
    assert (found.id, found.attempt, found.lapses, found.lane) == (item_id, 2, 1, Lane.LEASED)
    assert queue.outlook() == DueItems(any=False, lapsed=False)


def test_lapsed_items_are_never_claimed_together_with_others(queue: Queue) -> None:
    lapsed = [queue.put() for _ in range(2)]
    queue.claim()
    for age, item_id in enumerate(reversed(lapsed), start=1):
        queue.change(item_id, due_at=rows.ago(seconds=age))
    fresh = queue.put()
    assert ids(queue.claim()) == [fresh]
    found = [queue.claim_lapsed() for _ in range(3)]
    assert [one.id if one else None for one in found] == [*lapsed, None]


@pytest.mark.parametrize("lapses", [1, 2, 3])
def test_a_lapsed_item_stays_alone_after_it_was_released(queue: Queue, lapses: int) -> None:
    suspect, fresh = queue.put(), queue.put()
    queue.claim()
    queue.change(suspect, lapses=lapses)
    for one in (suspect, fresh):
        claim = Claim(id=one, attempt=1, failures=0, max_failures=1, lapses=lapses if one == suspect else 0)
        assert queue.settle(items.released(claim)) == {one}

    assert ids(queue.claim()) == [fresh]
    found = queue.claim_lapsed()
    assert found is not None
    assert (found.id, found.attempt, found.lapses, found.lane) == (suspect, 2, lapses, Lane.LAPSED)
    assert queue.bury() == []
    assert queue.claim_lapsed() is None


def test_an_item_due_in_the_future_is_not_claimed(queue: Queue) -> None:
    queue.put(due_at=rows.ago(seconds=-60))
    queue.put(lane=Lane.LAPSED, lapses=1, due_at=rows.ago(seconds=-60))
    assert queue.claim() == []
    assert queue.claim_lapsed() is None
    assert queue.outlook() == DueItems(any=False, lapsed=False)


def test_the_third_lapse_ends_an_item(queue: Queue) -> None:
    item_id = queue.put()
    queue.claim()
    for _ in range(2):
        queue.let_lease_end(item_id)
        assert queue.bury() == []
        assert queue.claim_lapsed() is not None
    queue.let_lease_end(item_id)
    assert queue.outlook() == DueItems(any=True, lapsed=True)
    assert queue.claim_lapsed() is None
    assert queue.bury() == [item_id]
    ended = queue.state(item_id)
    assert ended is not None
    assert (ended["lane"], ended["lapses"], ended["failures"], ended["reason"]) == (Lane.DEAD, 3, 0, "poison")
    assert queue.outlook() == DueItems(any=False, lapsed=False)


def test_a_burial_ends_no_more_than_its_limit(queue: Queue) -> None:
    there = [queue.put() for _ in range(3)]
    queue.claim()
    for item_id in there:
        queue.change(item_id, lapses=2, due_at=rows.ago(seconds=1))
    assert len(queue.bury(limit=2)) == 2
    assert len(queue.bury()) == 1


def test_a_dead_item_is_no_longer_due(queue: Queue) -> None:
    queue.put(lane=Lane.DEAD, reason="unknown_topic")
    assert queue.claim() == []
    assert queue.claim_lapsed() is None
    assert queue.outlook() == DueItems(any=False, lapsed=False)


def test_the_attempt_rises_with_every_claim_and_never_falls(queue: Queue) -> None:
    queue.put()
    seen = []
    for _ in range(3):
        (found,) = queue.claim()
        seen.append(found.attempt)
        queue.settle(items.released(found))
    assert seen == [1, 2, 3]


def test_an_item_names_the_worker_that_claimed_it_last(queue: Queue) -> None:
    item_id, worker = queue.put(), uuid4()
    queue.claim(worker=worker)
    found = queue.state(item_id)
    assert found is not None
    assert found["leased_by"] == worker


def test_a_lease_is_renewed_only_under_the_attempt_that_has_it(queue: Queue) -> None:
    ours, lost, ended = (queue.put() for _ in range(3))
    queue.claim()
    queue.change(lost, attempt=2)
    queue.change(ended, lane=Lane.DEAD, reason="test")
    before = [queue.state(one) for one in (ours, lost, ended)]
    with queue.database.begin() as connection:
        named = [(ours, 1), (lost, 1), (ended, 1)]
        assert items.extend(connection, queue.stage, named, lease=timedelta(hours=1)) == {ours}
        assert items.any_leased(connection, queue.stage, named, worker=WORKER)
        assert not items.any_leased(connection, queue.stage, named, worker=uuid4())
        assert not items.any_leased(connection, queue.stage, named[1:], worker=WORKER)
    after = [queue.state(one) for one in (ours, lost, ended)]
    assert after[1:] == before[1:]
    assert before[0] is not None
    assert after[0] is not None
    assert after[0]["due_at"] - before[0]["due_at"] > timedelta(minutes=58)  # type: ignore[operator]


def test_a_settled_item_is_deleted(queue: Queue) -> None:
    item_id = queue.put()
    (found,) = queue.claim()
    assert queue.settle(items.done(found)) == {item_id}
    assert queue.state(item_id) is None


def test_an_item_that_is_worked_on_again_and_again_is_due_after_its_interval(queue: Queue) -> None:
    item_id = queue.put(failures=1)
    for attempt in (1, 2):
        (found,) = queue.claim()
        assert queue.settle(ItemOutcome(id=item_id, attempt=attempt, lane=Lane.BULK, due_in=300)) == {item_id}
        assert queue.claim() == []
        assert (found.failures, queue.lane(item_id)) == (1, Lane.BULK)
        queue.change(item_id, due_at=rows.ago(seconds=1))


def test_a_released_item_keeps_its_place_and_has_not_failed(queue: Queue) -> None:
    first, second = queue.put(due_at=rows.ago(minutes=2)), queue.put(due_at=rows.ago(minutes=1))
    claims = queue.claim()
    assert queue.settle(*(items.released(one) for one in reversed(claims))) == {first, second}
    again = queue.claim()
    assert ids(again) == [first, second]
    assert {(one.failures, one.lapses) for one in again} == {(0, 0)}


@pytest.mark.parametrize("failures", [0, 1, 4])
def test_each_failure_doubles_the_wait(queue: Queue, failures: int) -> None:
    item_id = queue.put(failures=failures, lane=Lane.URGENT)
    (found,) = queue.claim()
    ending = items.later(found, "unknown_topic", rng=Random(1))
    assert queue.settle(ending) == {item_id}
    expected = min(15 * 60, 30 * 2**failures)
    assert expected / 2 <= ending.due_in <= expected
    waits = queue.state(item_id)
    assert waits is not None
    assert (waits["lane"], waits["failures"], waits["reason"]) == (Lane.URGENT, failures + 1, "unknown_topic")
    assert queue.claim() == []


def test_the_failure_that_spends_the_budget_ends_the_item(queue: Queue) -> None:
    item_id = queue.put(failures=1, max_failures=2)
    (found,) = queue.claim()
    assert queue.settle(items.later(found, "unknown_topic", rng=Random(1))) == {item_id}
    ended = queue.state(item_id)
    assert ended is not None
    assert (ended["lane"], ended["failures"], ended["reason"]) == (Lane.DEAD, 2, "unknown_topic")


def test_a_late_worker_settles_nothing(queue: Queue) -> None:
    item_id = queue.put()
    (late,) = queue.claim()
    queue.let_lease_end(item_id)
    assert queue.claim_lapsed() is not None
    before = queue.state(item_id)
    for ending in (items.done(late), items.released(late), items.dead(late, "test")):
        assert queue.settle(ending) == set()
    assert queue.state(item_id) == before


def test_each_item_of_a_batch_gets_its_own_outcome(queue: Queue) -> None:
    there = [queue.put() for _ in range(4)]
    done, back, dead, lost = queue.claim()
    queue.change(lost.id, attempt=9)
    endings = (items.done(done), items.released(back), items.dead(dead, "test"), items.done(lost))
    assert queue.settle(*endings) == {done.id, back.id, dead.id}
    assert queue.state(there[0]) is None
    assert [queue.lane(one) for one in there[1:]] == [Lane.NORMAL, Lane.DEAD, Lane.LEASED]


def test_only_its_own_worker_takes_back_a_claim_that_was_never_acknowledged(queue: Queue) -> None:
    item_id = queue.put()
    claims = queue.claim()
    with queue.database.begin() as connection:
        assert items.undo_claims(connection, queue.stage, claims, worker=uuid4()) == set()
        assert items.undo_claims(connection, queue.stage, claims, worker=WORKER) == {(item_id, 1)}
    again = queue.claim()
    assert [(one.id, one.attempt, one.lapses) for one in again] == [(item_id, 2, 0)]
    with queue.database.begin() as connection:
        assert items.undo_claims(connection, queue.stage, claims, worker=WORKER) == set()


def test_renewing_or_settling_nothing_runs_no_statement(queue: Queue) -> None:
    with statements(queue.database) as sent, queue.database.begin() as connection:
        assert items.extend(connection, queue.stage, [], lease=LEASE) == set()
        assert items.settle(connection, queue.stage, []) == set()
    assert sent == []


def test_while_an_item_is_leased_no_other_with_its_order_key_is_claimed(database: Database) -> None:
    queue = Queue(database=database, stage=FAN_OUT, add=rows.event, ordered=True)
    first = queue.put(topic="CL-1")
    assert ids(queue.claim(limit=1)) == [first]
    urgent = queue.put(topic="CL-1", lane=Lane.URGENT, order_key="urgent CL-1")
    elsewhere, second = queue.put(topic="CL-2"), queue.put(topic="CL-1")
    assert ids(queue.claim()) == [urgent, elsewhere]
    queue.settle(ItemOutcome(id=first, attempt=1))
    assert ids(queue.claim()) == [second]


def test_a_claim_has_the_ids_before_it_unless_they_have_failed_or_died(database: Database) -> None:
    queue = Queue(database=database, stage=FAN_OUT, add=rows.event, ordered=True)
    queue.put(topic="CL-0")
    first = queue.put(failures=1, due_at=rows.ago(minutes=-5))
    dead = queue.put(lane=Lane.DEAD, reason="test")
    second, third = queue.put(), queue.put()
    queue.put(topic="CL-2")
    found = {one.id: one.predecessor for one in queue.claim()}
    assert first not in found
    assert dead not in found
    assert (found[second], found[third]) == (None, second)
