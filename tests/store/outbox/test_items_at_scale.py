"""What a claim reads beside very many items due in the future, whatever the planner's statistics say."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, text, update

from notify.domain.claims import Claim
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from notify.store.outbox import items
from notify.store.sessions import PLANNED_ONCE
from notify.store.tables.emails import work_items
from tests.support import plans, rows
from tests.support.plans import indexes_read, rows_read
from tests.support.servers import empty, new_database

MANY = 20_000
VERY_MANY = 1_000_000
DUE = 30
LIMIT = 10
LEASE = timedelta(minutes=1)
# A claim reads up to its limit in each of three lanes, three times more than it takes: by primary key, and for
# one with an order key the one before it, perhaps with a sort; a bitmap reads each row twice, in index and table.
MOST_ROWS = 2 * 7 * LIMIT

FILL = text("""
    INSERT INTO notify.work_items (stage, id, lane, due_at, order_key)
    SELECT stage, n, n % 3, now() + CAST(:due_in AS interval), CASE stage WHEN 'fan_out' THEN 'CL-1' END
    FROM generate_series(1, :count) AS n, unnest(ARRAY['fan_out', 'deliver']) AS stage
""")


@dataclass(frozen=True, slots=True)
class FutureItems:
    """A stage with many items due in the future."""

    database: Database
    stage: str

    @property
    def is_ordered(self) -> bool:
        return self.stage == FAN_OUT

    def claim(self, session: Connection, *, limit: int) -> list[Claim]:
        return items.claim(session, self.stage, limit=limit, lease=LEASE, worker=UUID(int=1), ordered=self.is_ordered)

    def claim_lapsed(self, session: Connection) -> Claim | None:
        return items.claim_lapsed(session, self.stage, lease=LEASE, worker=UUID(int=1))

    @property
    def read_by_a_claim(self) -> set[str]:
        return {"work_items_due", "work_items_pkey"} | ({"work_items_order"} if self.is_ordered else set())


def fill(connection: Connection, *, count: int, due_in: timedelta) -> None:
    """Insert this many items for each stage, all due at one instant, however long it takes to write them."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(FILL, {"count": count, "due_in": due_in})


def know_nothing(_: Connection) -> None:
    """The planner has no statistics."""


def know_another_time(connection: Connection) -> None:
    """The statistics are from when there were few items, all of them due."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(text("ANALYZE"))
    empty(connection)


def know_a_quiet_hour(connection: Connection) -> None:
    """The statistics are from when nothing was to be done."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(delete(work_items))
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=[MANY, pytest.param(VERY_MANY, marks=pytest.mark.slow)])
def waiting(request: pytest.FixtureRequest) -> int:
    """How many items of each stage are due in the future."""
    count: int = request.param
    return count


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((know_nothing, False), id="no statistics"),
        pytest.param((know_another_time, False), id="stale statistics"),
        pytest.param((know_a_quiet_hour, False), id="statistics of a quiet hour"),
        pytest.param((know_nothing, True), id="statistics"),
    ],
)
def crowded_url(request: pytest.FixtureRequest, database_server: str, waiting: int) -> Iterator[str]:
    """A database with many future items, and planner statistics as the parameter says; autovacuum is off."""
    know, analysed = request.param
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url)) as opened, opened.begin() as connection:
            connection.execute(text("ALTER TABLE notify.work_items SET (autovacuum_enabled = false)"))
            know(connection)
            fill(connection, count=waiting, due_in=timedelta(hours=1))
            if analysed:
                connection.execute(text("ANALYZE"))
        yield url


@pytest.fixture(params=[FAN_OUT, DELIVER])
def crowd(request: pytest.FixtureRequest, crowded_url: str) -> Iterator[FutureItems]:
    database = Database(crowded_url, prepared=PLANNED_ONCE)
    yield FutureItems(database, request.param)
    database.close()


@pytest.fixture
def session(crowd: FutureItems) -> Iterator[Connection]:
    """A transaction in which some items are due, beside those in the future; rolled back at the end."""
    with crowd.database.engine.connect() as connection:
        for number in range(DUE):
            order_key = f"CL-{number}" if crowd.is_ordered else None
            due = {"lane": number % 3, "due_at": rows.ago(seconds=1), "order_key": order_key}
            rows.item(connection, crowd.stage, 10 * VERY_MANY + number, **due)
        yield connection


def plan_of(crowd: FutureItems, session: Connection, ask: Callable[[], object]) -> plans.Plan:
    return plans.plan_of(crowd.database, session, ask)


@pytest.mark.parametrize("limit", [7, 10_000])
def test_a_claim_takes_only_due_items_up_to_its_limit(crowd: FutureItems, session: Connection, limit: int) -> None:
    assert len(crowd.claim(session, limit=limit)) == min(limit, DUE)


def test_a_claim_reads_due_items_and_not_future_ones(crowd: FutureItems, session: Connection) -> None:
    plan = plan_of(crowd, session, lambda: crowd.claim(session, limit=LIMIT))
    assert indexes_read(plan) == crowd.read_by_a_claim
    assert rows_read(plan) <= MOST_ROWS


def test_asking_whether_anything_is_due_does_not_read_future_items(crowd: FutureItems, session: Connection) -> None:
    crowd.claim(session, limit=DUE)
    assert not items.is_due(session, crowd.stage)
    plan = plan_of(crowd, session, lambda: items.due_items(session, crowd.stage))
    assert indexes_read(plan) == {"work_items_due"}
    assert rows_read(plan) <= MOST_ROWS


def test_finding_a_lapsed_item_does_not_read_future_ones(crowd: FutureItems, session: Connection) -> None:
    (lost,) = crowd.claim(session, limit=1)
    item = work_items.c
    session.execute(
        update(work_items).where(item.stage == crowd.stage, item.id == lost.id).values(due_at=rows.ago(seconds=1))
    )
    plan = plan_of(crowd, session, lambda: crowd.claim_lapsed(session))
    assert indexes_read(plan) <= {"work_items_due", "work_items_pkey", "work_items_order"}
    assert rows_read(plan) <= MOST_ROWS
    found = crowd.claim_lapsed(session)
    assert found is not None
    assert found.id == lost.id
    assert crowd.claim_lapsed(session) is None


def test_settling_reads_only_what_is_settled(crowd: FutureItems, session: Connection) -> None:
    claims = crowd.claim(session, limit=LIMIT)
    endings = [
        items.done(one) if number % 2 else items.later(one, "later", rng=Random(1)) for number, one in enumerate(claims)
    ]
    plan = plan_of(crowd, session, lambda: items.settle(session, crowd.stage, endings))
    assert indexes_read(plan) == {"work_items_pkey"}
    assert rows_read(plan) <= MOST_ROWS


def test_a_prepared_claim_does_not_fall_back_to_scanning_the_table(crowd: FutureItems, session: Connection) -> None:
    """After a few executions the driver prepares a statement, and PostgreSQL may plan it without its parameters."""
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    before = whole_reads(session)
    for _ in range(DUE):
        items.due_items(session, crowd.stage)
        taken = crowd.claim(session, limit=1)
        items.extend(session, crowd.stage, [(one.id, one.attempt) for one in taken], lease=LEASE)
        items.settle(session, crowd.stage, list(map(items.done, taken)))
        crowd.claim_lapsed(session)
    assert whole_reads(session) == before


def whole_reads(session: Connection) -> int:
    """How often this transaction has scanned the whole table."""
    question = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'work_items'")
    count: int = session.execute(question).scalar_one()
    return count
