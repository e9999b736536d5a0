"""What a claim reads beside a multitude of rows that wait for the future, whatever the planner believes of them."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, Connection, delete, func, text, update

from notify.store import outbox
from notify.store.database import Database
from notify.store.leases import Leases
from notify.store.migrate import upgrade
from notify.store.tables import email_jobs, work_items
from tests.support import plans, rows
from tests.support.plans import indexes_read, rows_read
from tests.support.servers import empty, new_database

MANY = 100_000
VERY_MANY = 1_000_000
DUE = 30
LIMIT = 10
LEASE = timedelta(minutes=1)
# A claim reads up to its limit in each of three priorities, three times more what it takes: by primary key, and for an
# event the one before it, perhaps with a sort; a bitmap meets each row twice, in the index and in the table.
MOST_ROWS = 2 * 7 * LIMIT

EVENTS = text("""
    WITH stored AS (
        INSERT INTO notify.events (key, type, cl_link, actor)
        SELECT 'many-' || n, 'cl.comment.created', 'CL-1', 'dana' FROM generate_series(1, :count) AS n
        RETURNING id
    )
    INSERT INTO notify.work_items (stage, id, lane, due_at, order_key)
    SELECT 'fan_out', id, id % 3, now() + CAST(:due_in AS interval), 'CL-1' FROM stored
""")
LETTERS = text("""
    INSERT INTO notify.email_jobs
        (event_id, event_type, cl_link, username, to_email, reason, message_id, priority, due_at)
    SELECT event.id, 'cl.comment.created', 'CL-1', 'user-' || n, 'a@example.com', 'author', 'many-' || n, n % 3,
        now() + CAST(:due_in AS interval)
    FROM generate_series(1, :count) AS n, (SELECT min(id) AS id FROM notify.events) AS event
""")


@dataclass(frozen=True, slots=True)
class Crowd:
    """A leased table in which many rows wait for the future."""

    database: Database
    leases: Leases
    add: Callable[..., int]
    wanted: Sequence[ColumnElement[Any]]
    asked: AbstractSet[str] = frozenset()
    """The indexes that *wanted* needs."""
    taken: AbstractSet[str] = frozenset()
    """The indexes that say what goes with what another has."""

    @property
    def name(self) -> str:
        return self.leases.table.name

    @property
    def taken_by(self) -> AbstractSet[str]:
        """The indexes that find the rows which a claim takes, whatever it asks about them."""
        return {f"{self.name}_pkey", *self.asked}


def fill(connection: Connection, *, count: int, due_in: timedelta) -> None:
    """So many events and letters, all of them due at one instant, however long it takes to write them."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    for statement in (EVENTS, LETTERS):
        connection.execute(statement, {"count": count, "due_in": due_in})


def know_nothing(_: Connection) -> None:
    """The planner has never looked at the tables."""


def know_another_time(connection: Connection) -> None:
    """The planner has looked when there were few rows, and all of them were due."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(text("ANALYZE"))
    empty(connection)


def know_a_quiet_hour(connection: Connection) -> None:
    """The planner has looked when everything was finished."""
    fill(connection, count=1000, due_in=-timedelta(hours=1))
    connection.execute(update(email_jobs).values(status="sent", due_at=None, finished_at=func.now()))
    connection.execute(delete(work_items))
    connection.execute(text("ANALYZE"))
    empty(connection)


@pytest.fixture(scope="module", params=[MANY, pytest.param(VERY_MANY, marks=pytest.mark.slow)])
def waiting(request: pytest.FixtureRequest) -> int:
    """How many rows of each table wait for the future."""
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
            for table in ("work_items", "events", "email_jobs"):
                connection.execute(text(f"ALTER TABLE notify.{table} SET (autovacuum_enabled = false)"))
            know(connection)
            fill(connection, count=waiting, due_in=timedelta(hours=1))
            if analysed:
                connection.execute(text("ANALYZE"))
        yield url


@pytest.fixture(
    params=[
        pytest.param((outbox.LEASES, rows.letter, outbox.WANTED), id="letters"),
    ]
)
def crowd(request: pytest.FixtureRequest, crowded_url: str) -> Iterator[Crowd]:
    database = Database(crowded_url)
    yield Crowd(database, *request.param)
    database.close()


@pytest.fixture
def session(crowd: Crowd) -> Iterator[Connection]:
    """A transaction in which some rows are due, beside those that wait; rolled back at the end."""
    with crowd.database.engine.connect() as connection:
        for number in range(DUE):
            crowd.add(connection, priority=number % 3, due_at=rows.ago(seconds=1))
        yield connection


def claim(crowd: Crowd, session: Connection, *, limit: int) -> list[int]:
    found = crowd.leases.claim(session, limit=limit, lease=LEASE, worker=UUID(int=1), wanted=crowd.wanted)
    return [row.id for row in found]


def claim_lapsed(crowd: Crowd, session: Connection) -> int | None:
    found = crowd.leases.claim_lapsed(session, lease=LEASE, worker=UUID(int=1), wanted=crowd.wanted)
    return found.id if found else None


def plan_of(crowd: Crowd, session: Connection, ask: Callable[[], object]) -> plans.Plan:
    return plans.plan_of(crowd.database, session, ask)


@pytest.mark.parametrize("limit", [7, 10_000])
def test_a_claim_takes_what_is_due_up_to_its_limit_and_nothing_that_waits(
    crowd: Crowd, session: Connection, limit: int
) -> None:
    assert len(claim(crowd, session, limit=limit)) == min(limit, DUE)


def test_a_claim_reads_the_due_rows_and_not_those_that_wait(crowd: Crowd, session: Connection) -> None:
    plan = plan_of(crowd, session, lambda: claim(crowd, session, limit=LIMIT))
    assert indexes_read(plan) == {f"{crowd.name}_due", *crowd.taken_by, *crowd.taken}
    assert rows_read(plan) <= MOST_ROWS


def test_asking_whether_anything_is_due_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    claim(crowd, session, limit=DUE)
    assert not crowd.leases.any_due(session)
    plan = plan_of(crowd, session, lambda: crowd.leases.any_due(session))
    assert indexes_read(plan) == {f"{crowd.name}_due"}
    assert rows_read(plan) <= MOST_ROWS


def test_a_look_at_what_there_is_to_do_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    claim(crowd, session, limit=DUE)
    plan = plan_of(crowd, session, lambda: crowd.leases.outlook(session))
    assert indexes_read(plan) == {f"{crowd.name}_due", f"{crowd.name}_alone"}
    assert rows_read(plan) <= MOST_ROWS


def test_finding_the_row_of_a_vanished_worker_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    (lost,) = claim(crowd, session, limit=1)
    row = crowd.leases.table
    session.execute(update(row).where(row.c.id == lost).values(due_at=rows.ago(seconds=1)))
    plan = plan_of(crowd, session, lambda: claim_lapsed(crowd, session))
    assert indexes_read(plan) == {f"{crowd.name}_alone", *crowd.taken_by}
    assert rows_read(plan) <= MOST_ROWS
    assert claim_lapsed(crowd, session) == lost
    assert claim_lapsed(crowd, session) is None


def test_a_worker_that_asks_often_does_not_come_to_read_the_whole_table(crowd: Crowd, session: Connection) -> None:
    """After a few times the driver prepares a statement, and PostgreSQL may plan it without its parameters."""
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    before = whole_reads(crowd, session)
    for _ in range(DUE):
        crowd.leases.any_due(session)
        crowd.leases.outlook(session)
        claim(crowd, session, limit=1)
        claim_lapsed(crowd, session)
    assert whole_reads(crowd, session) == before


def whole_reads(crowd: Crowd, session: Connection) -> int:
    """How often this transaction has read the whole table."""
    question = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = :name")
    count: int = session.execute(question, {"name": crowd.name}).scalar_one()
    return count
