"""What a claim reads beside a multitude of rows that wait for the future, whatever the planner believes of them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text, update

from notify.store import events, outbox
from notify.store.database import Database
from notify.store.leases import Leases
from notify.store.migrate import upgrade
from tests.support import rows
from tests.support.servers import empty, new_database
from tests.support.statements import statements

MANY = 100_000
VERY_MANY = 1_000_000
DUE = 30
LIMIT = 10
LEASE = timedelta(minutes=1)
# A claim reads up to its limit in each of three priorities, and once more by primary key what it takes;
# a bitmap meets each row twice, in the index and in the table.
MOST_ROWS = 2 * 4 * LIMIT

EVENTS = text("""
    INSERT INTO notify.events (key, type, cl_link, actor, priority, due_at)
    SELECT 'many-' || n, 'cl.comment.created', 'CL-1', 'dana', n % 3, now() + CAST(:due_in AS interval)
    FROM generate_series(1, :count) AS n
""")
LETTERS = text("""
    INSERT INTO notify.email_jobs
        (event_id, event_type, cl_link, username, to_email, reason, message_id, priority, due_at)
    SELECT event.id, 'cl.comment.created', 'CL-1', 'user-' || n, 'a@example.com', 'author', 'many-' || n, n % 3,
        now() + CAST(:due_in AS interval)
    FROM generate_series(1, :count) AS n, (SELECT min(id) AS id FROM notify.events) AS event
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A leased table in which many rows wait for the future."""

    database: Database
    leases: Leases
    add: Callable[..., int]

    @property
    def name(self) -> str:
        return self.leases.table.name


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
        pytest.param((know_nothing, True), id="statistics"),
    ],
)
def crowded_url(request: pytest.FixtureRequest, database_server: str, waiting: int) -> Iterator[str]:
    """A database with a crowd in it, of which the planner knows what the parameter says; autovacuum stays away."""
    know, analysed = request.param
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url)) as opened, opened.begin() as connection:
            for table in ("events", "email_jobs"):
                connection.execute(text(f"ALTER TABLE notify.{table} SET (autovacuum_enabled = false)"))
            know(connection)
            fill(connection, count=waiting, due_in=timedelta(hours=1))
            if analysed:
                connection.execute(text("ANALYZE"))
        yield url


@pytest.fixture(
    params=[
        pytest.param((events.LEASES, rows.event), id="events"),
        pytest.param((outbox.LEASES, rows.letter), id="letters"),
    ]
)
def crowd(request: pytest.FixtureRequest, crowded_url: str) -> Iterator[Crowd]:
    database = Database(crowded_url)
    leases, add = request.param
    yield Crowd(database=database, leases=leases, add=add)
    database.close()


@pytest.fixture
def session(crowd: Crowd) -> Iterator[Connection]:
    """A transaction in which some rows are due, beside those that wait; rolled back at the end."""
    with crowd.database.engine.connect() as connection:
        for number in range(DUE):
            crowd.add(connection, priority=number % 3, due_at=rows.ago(seconds=1))
        yield connection


def claim(crowd: Crowd, session: Connection, *, limit: int) -> list[int]:
    wanted = [crowd.leases.table.c.id]
    found = crowd.leases.claim(session, limit=limit, lease=LEASE, worker=UUID(int=1), wanted=wanted)
    return [row.id for row in found]


def claim_lapsed(crowd: Crowd, session: Connection) -> int | None:
    wanted = [crowd.leases.table.c.id]
    found = crowd.leases.claim_lapsed(session, lease=LEASE, worker=UUID(int=1), wanted=wanted)
    return found.id if found else None


def plan_of(crowd: Crowd, session: Connection, ask: Callable[[], object]) -> dict[str, Any]:
    """What the statement that *ask* sends really does, as EXPLAIN ANALYZE tells it; undone afterwards."""
    with statements(crowd.database) as sent, session.begin_nested() as undone:
        ask()
        undone.rollback()
    (question,) = (one for one in sent if "SAVEPOINT" not in one.sql)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {question.sql}"
    with session.begin_nested() as undone:
        plan: dict[str, Any] = session.exec_driver_sql(explain, question.parameters).scalar_one()[0]["Plan"]
        undone.rollback()
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for one in plan.get("Plans", []) for node in nodes(one))]


def indexes_read(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def rows_read(plan: dict[str, Any]) -> float:
    """
    Rows and index entries that the scans have met, those included that a filter threw away.

    Pages would tell less: how many a row costs differs with the version, with bloat and with who else is busy.
    """
    scans = [one for one in nodes(plan) if one.keys() & {"Relation Name", "Index Name"}]
    return float(sum(met(one) * one["Actual Loops"] for one in scans if one["Node Type"] != "ModifyTable"))


def met(scan: dict[str, Any]) -> float:
    return float(scan["Actual Rows"] + sum(count for name, count in scan.items() if name.startswith("Rows Removed by")))


@pytest.mark.parametrize("limit", [7, 10_000])
def test_a_claim_takes_what_is_due_up_to_its_limit_and_nothing_that_waits(
    crowd: Crowd, session: Connection, limit: int
) -> None:
    assert len(claim(crowd, session, limit=limit)) == min(limit, DUE)


def test_a_claim_reads_the_due_rows_and_not_those_that_wait(crowd: Crowd, session: Connection) -> None:
    plan = plan_of(crowd, session, lambda: claim(crowd, session, limit=LIMIT))
    assert indexes_read(plan) == {f"{crowd.name}_due", f"{crowd.name}_pkey"}
    assert rows_read(plan) <= MOST_ROWS


def test_asking_whether_anything_is_due_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    claim(crowd, session, limit=DUE)
    assert not crowd.leases.any_due(session)
    plan = plan_of(crowd, session, lambda: crowd.leases.any_due(session))
    assert indexes_read(plan) == {f"{crowd.name}_due"}
    assert rows_read(plan) <= MOST_ROWS


def test_finding_the_row_of_a_vanished_worker_does_not_read_what_waits(crowd: Crowd, session: Connection) -> None:
    (lost,) = claim(crowd, session, limit=1)
    row = crowd.leases.table
    session.execute(update(row).where(row.c.id == lost).values(due_at=rows.ago(seconds=1)))
    plan = plan_of(crowd, session, lambda: claim_lapsed(crowd, session))
    assert indexes_read(plan) == {f"{crowd.name}_alone", f"{crowd.name}_pkey"}
    assert rows_read(plan) <= MOST_ROWS
    assert claim_lapsed(crowd, session) == lost
    assert claim_lapsed(crowd, session) is None


def test_a_worker_that_asks_often_does_not_come_to_read_the_whole_table(crowd: Crowd, session: Connection) -> None:
    """After a few times the driver prepares a statement, and PostgreSQL may plan it without its parameters."""
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    before = whole_reads(crowd, session)
    for _ in range(DUE):
        crowd.leases.any_due(session)
        claim(crowd, session, limit=1)
        claim_lapsed(crowd, session)
    assert whole_reads(crowd, session) == before


def whole_reads(crowd: Crowd, session: Connection) -> int:
    """How often this transaction has read the whole table."""
    question = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = :name")
    count: int = session.execute(question, {"name": crowd.name}).scalar_one()
    return count
