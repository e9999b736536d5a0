"""What a claim reads beside a multitude of items that wait for the future, whatever the planner believes of them."""

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

MANY = 100_000
VERY_MANY = 1_000_000
DUE = 30
LIMIT = 10
LEASE = timedelta(minutes=1)
# A claim reads up to its limit in each of three lanes, three times more what it takes: by primary key, and for
# one with an order key the one before it, perhaps with a sort; a bitmap meets each row twice, in index and table.
MOST_ROWS = 2 * 7 * LIMIT

FILL = text("""
    INSERT INTO notify.work_items (stage, id, lane, due_at, order_key)
    SELECT stage, n, n % 3, now() + CAST(:due_in AS interval), CASE stage WHEN 'fan_out' THEN 'CL-1' END
    FROM generate_series(1, :count) AS n, unnest(ARRAY['fan_out', 'deliver']) AS stage
""")


@dataclass(frozen=True, slots=True)
class Crowd:
    """A stage many of whose items wait for the future."""

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
    """So many items of each stage, all of them due at one instant, however long it takes to write them."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(FILL, {"count": count, "due_in": due_in})


def know_nothing(_: Connection) -> None:
    """The planner has never looked at the table."""


def know_another_time(connection: Connection) -> None:
    """The planner has looked when there were few items, and all of them were due."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(text("ANALYZE"))
    empty(connection)


def know_a_quiet_hour(connection: Connection) -> None:
    """The planner has looked when nothing was to be done."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(delete(work_items))
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=[MANY, pytest.param(VERY_MANY, marks=pytest.mark.slow)])
def waiting(request: pytest.FixtureRequest) -> int:
    """How many items of each stage wait for the future."""
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
    """A database with a crowd in it, of which the planner knows what the parameter says; autovacuum stays away."""
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
def crowd(request: pytest.FixtureRequest, crowded_url: str) -> Iterator[Crowd]:
    database = Database(crowded_url, prepared=PLANNED_ONCE)
    yield Crowd(database, request.param)
    database.close()


@pytest.fixture
def session(crowd: Crowd) -> Iterator[Connection]:
    """A transaction in which some items are due, beside those that wait; rolled back at the end."""
    with crowd.database.engine.connect() as connection:
        for number in range(DUE):
            order_key = f"CL-{number}" if crowd.is_ordered else None
            due = {"lane": number % 3, "due_at": rows.ago(seconds=1), "order_key": order_key}
            rows.item(connection, crowd.stage, 10 * VERY_MANY + number, **due)
        yield connection


def plan_of(crowd: Crowd, session: Connection, ask: Callable[[], object]) -> plans.Plan:
    return plans.plan_of(crowd.database, session, ask)


@pytest.mark.parametrize("limit", [7, 10_000])
def test_a_claim_takes_what_is_due_up_to_its_limit_and_nothing_that_waits(
    crowd: Crowd, session: Connection, limit: int
) -> None:
    assert len(crowd.claim(session, limit=limit)) == min(limit, DUE)


def test_a_claim_reads_the_due_items_and_not_those_that_wait(crowd: Crowd, session: Connection) -> None:
    plan = plan_of(crowd, session, lambda: crowd.claim(session, limit=LIMIT))
    assert indexes_read(plan) == crowd.read_by_a_claim
    assert rows_read(plan) <= MOST_ROWS


def test_a_look_at_what_there_is_to_do_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    crowd.claim(session, limit=DUE)
    assert not items.is_due(session, crowd.stage)
    plan = plan_of(crowd, session, lambda: items.outlook(session, crowd.stage))
    assert indexes_read(plan) == {"work_items_due"}
    assert rows_read(plan) <= MOST_ROWS


def test_finding_the_item_of_a_vanished_worker_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
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


def test_settling_reads_what_is_settled(crowd: Crowd, session: Connection) -> None:
    claims = crowd.claim(session, limit=LIMIT)
    endings = [
        items.done(one) if number % 2 else items.later(one, "later", rng=Random(1)) for number, one in enumerate(claims)
    ]
    plan = plan_of(crowd, session, lambda: items.settle(session, crowd.stage, endings))
    assert indexes_read(plan) == {"work_items_pkey"}
    assert rows_read(plan) <= MOST_ROWS


def test_a_worker_that_asks_often_does_not_come_to_read_the_whole_table(crowd: Crowd, session: Connection) -> None:
    """After a few times the driver prepares a statement, and PostgreSQL may plan it without its parameters."""
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    before = whole_reads(session)
    for _ in range(DUE):
        items.outlook(session, crowd.stage)
        taken = crowd.claim(session, limit=1)
        items.extend(session, crowd.stage, [(one.id, one.attempt) for one in taken], lease=LEASE)
        items.settle(session, crowd.stage, list(map(items.done, taken)))
        crowd.claim_lapsed(session)
    assert whole_reads(session) == before


def whole_reads(session: Connection) -> int:
    """How often this transaction has read the whole table."""
    question = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'work_items'")
    count: int = session.execute(question).scalar_one()
    return count
