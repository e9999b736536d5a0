"""What reading facts, recording and fan-out read beside a long history, whatever the planner's statistics say."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from notify.domain.claims import Claim
from notify.domain.outcomes import Answer, Phase, Sent, settle
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from notify.store.outbox import audiences, facts, jobs, notifications, outbox
from notify.store.outbox.notifications import NewNotification
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.sessions import PLANNED_ONCE
from tests.support import rows
from tests.support.plans import read_end_to_end
from tests.support.servers import new_database

MANY = 20_000
VERY_MANY = 5_000_000
PEOPLE = 20_000
FEW = 50
READERS = 20
LEASE = timedelta(minutes=1)
WORKER = UUID(int=1)
BIG = {"events", "email_jobs", "notifications", "people", "user_notification_settings"}
# Contains no history: reading all of it costs as much as an index. test_items_at_scale fills it.
SMALL = "work_items"
# For each of fifty emails: its own row, its work item, and what is looked up for it, in tables and their indexes.
MOST_ROWS = 40 * FEW
READ = text("""
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int FROM pg_stat_xact_user_tables
    WHERE schemaname = 'notify'
""")
QUIET = "ALTER TABLE notify.{} SET (autovacuum_enabled = false)"
FILL = text("""
    INSERT INTO notify.people (username, email)
        SELECT 'u' || n, 'u' || n || '@example.com' FROM generate_series(1, :people) AS n;
    INSERT INTO notify.user_notification_settings (username, participating)
        SELECT 'u' || n, n % 100 = 0 FROM generate_series(1, :people, 2) AS n;
    INSERT INTO notify.events (key, type, topic, actor, status, finished_at)
        SELECT 'e' || n, 'cl.comment.created', 'CL-' || n / 10, 'u' || n % :people, 'done', now()
        FROM generate_series(1, :many / :readers) AS n;
    INSERT INTO notify.email_jobs (username, topic, to_email, message_id, status, finished_at)
        SELECT 'u' || n % :people, 'CL-' || n / :readers / 10, 'u@example.com', 'm' || n, 'sent', now()
        FROM generate_series(1, :many) AS n;
    INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
        SELECT n / :readers + 1, 'v' || n, 'cl.comment.created', 'author', 'told', 'default', n
        FROM generate_series(1, :many - :readers) AS n
""")


@pytest.fixture(scope="module", params=[MANY, pytest.param(VERY_MANY, marks=pytest.mark.slow)])
def history_size(request: pytest.FixtureRequest) -> int:
    """How many emails were sent before."""
    count: int = request.param
    return count


@pytest.fixture(scope="module", params=[False, True], ids=["no statistics", "statistics"])
def history(request: pytest.FixtureRequest, database_server: str, history_size: int) -> Iterator[Database]:
    """A database with a long history, with or without planner statistics; autovacuum is off."""
    with new_database(database_server) as url:
        upgrade(url)
        with closing(Database(url, answer_timeout_seconds=None, prepared=PLANNED_ONCE)) as opened:
            with opened.begin() as connection:
                for table in {*BIG, SMALL}:
                    connection.execute(text(QUIET.format(table)))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                for statement in FILL.text.split(";"):
                    connection.execute(text(statement), {"many": history_size, "people": PEOPLE, "readers": READERS})
                if request.param:
                    connection.execute(text("ANALYZE"))
            yield opened


@pytest.fixture
def session(history: Database) -> Iterator[Connection]:
    """A transaction that is rolled back at the end."""
    with history.engine.connect() as connection:
        yield connection


def claimed(session: Connection) -> list[Claim]:
    """Claim fifty due emails about one event."""
    event_id = rows.event(session, **rows.ended("done"))
    for number in range(FEW):
        rows.job(session, event_id=event_id, username=f"u{number + 1}")
    found = outbox.claim(session, limit=FEW, lease=LEASE, worker=WORKER)
    assert len(found) == FEW
    return [one.claim for one in found]


def ask_facts(session: Connection) -> Callable[[], object]:
    claims = claimed(session)
    return lambda: facts.of_claims(session, claims)


def record(session: Connection) -> Callable[[], object]:
    told = Sent(answer=Answer(phase=Phase.FINAL_DOT, code=250))
    endings = [
        AttemptOutcome(job=job, update=settle(told, job.claim, rng=Random(1)))
        for job in facts.of_claims(session, claimed(session))
    ]
    return lambda: outbox.record(session, endings, worker=WORKER)


def ask_who_is_around(session: Connection) -> Callable[[], object]:
    names = [f"u{number}" for number in range(FEW)]
    return lambda: audiences.around(session, ["CL-7"], names=names, called=["U7", "nobody"])


def write(session: Connection) -> Callable[[], object]:
    event_id = rows.event(session, **rows.ended("done"))
    told: Sequence[NewNotification] = [
        NewNotification(
            event_id=event_id,
            event_type="cl.comment.created",
            topic="CL-7",
            username=f"u{number}",
            reason="author",
            why="default",
            to_email="u@example.com",
            message_id=f"new-{number}",
        )
        for number in range(FEW)
    ]
    return lambda: notifications.write(session, told)


def look_at_an_event(session: Connection) -> Callable[[], object]:
    return lambda: jobs.of_event(session, "e7")


def look_at_a_history(session: Connection) -> Callable[[], object]:
    return lambda: jobs.history(session, "v7", limit=FEW)


@pytest.mark.parametrize(
    "prepare",
    [ask_facts, record, ask_who_is_around, write, look_at_an_event, look_at_a_history],
    ids=lambda one: one.__name__,
)
def test_each_statement_reads_only_its_own_rows_and_nothing_of_the_history(
    session: Connection, prepare: Callable[[Connection], Callable[[], object]]
) -> None:
    act = prepare(session)
    before, scanned = session.execute(READ).scalar_one(), read_end_to_end(session)
    act()
    assert read_end_to_end(session) & BIG <= scanned & BIG
    assert session.execute(READ).scalar_one() - before <= MOST_ROWS
