"""Sent emails are recorded in one statement, over the pool's connections and over a worker's own."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import select, text

from notify.store.database import Database
from notify.store.outbox import outbox, sent
from notify.store.outbox.sent import SentConnection, SentRow
from notify.store.tables.emails import email_jobs
from notify.store.tables.operations import delivery_stats
from tests.support import rows

T = TypeVar("T")

WORKER = UUID(int=1)
WORDS = ["", "ok", 'a "quote"', "back\\slash", "{a,b}", "NULL", "ä ☃ \U0001f4ec", "two\nlines", "'; --"]
END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%email AS MATERIALIZED%' AND pid <> :own"
)


def claimed(database: Database, reply: str | None = "queued") -> SentRow:
    """A claimed email, as it is when the relay has accepted it with this reply."""
    with database.begin() as connection:
        rows.job(connection)
        (job,) = outbox.claim(connection, limit=1, lease=timedelta(minutes=1), worker=WORKER)
    claim = job.claim
    return SentRow(claim.id, claim.attempt, job.event_type, 250, "2.0.0", reply, job.to_email, "mx.example.com:25", 12)


def written(database: Database, row: SentRow) -> tuple[str, str | None]:
    with database.begin() as connection:
        found = connection.execute(
            select(email_jobs.c.status, email_jobs.c.relay_reply).where(email_jobs.c.id == row.id)
        ).one()
    return found.status, found.relay_reply


def counted(database: Database) -> list[tuple[str, int]]:
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(select(delivery_stats.c.outcome, delivery_stats.c.count))]


def over_a_line(database: Database, work: Callable[[SentConnection], Awaitable[T]]) -> T:
    """What the work returns; the connection is closed after it."""

    async def main() -> T:
        line = SentConnection(database, worker=WORKER)
        await asyncio.to_thread(line.connect)
        try:
            return await work(line)
        finally:
            await line.close()

    return asyncio.run(main())


@pytest.mark.parametrize("words", [None, *WORDS])
def test_the_relays_reply_is_stored_as_it_was_sent(database: Database, words: str | None) -> None:
    row = claimed(database, words)
    with database.begin() as connection:
        assert sent.record(connection, [row], worker=WORKER) == {(row.id, row.attempt)}
    assert written(database, row) == ("sent", words)


def test_a_workers_own_connection_records_and_counts_sent_emails_once(database: Database) -> None:
    emails = [claimed(database) for _ in range(3)]

    async def work(line: SentConnection) -> list[set[tuple[int, int]] | None]:
        assert not line.is_wanted
        return [await line.record(emails), await line.record(emails)]

    assert over_a_line(database, work) == [{(row.id, row.attempt) for row in emails}, set()]
    assert {written(database, row)[0] for row in emails} == {"sent"}
    assert counted(database) == [("sent", 3)]


def test_a_lost_connection_reports_nothing_and_the_next_one_writes(database: Database) -> None:
    first, second = claimed(database), claimed(database)

    async def work(line: SentConnection) -> None:
        assert await line.record([first]) == {(first.id, first.attempt)}
        with database.begin() as connection:
            own = connection.scalar(text("SELECT pg_backend_pid()"))
            connection.execute(END, {"own": own})
        assert await line.record([second]) is None
        assert line.is_wanted
        assert await line.record([second]) == set()
        await asyncio.to_thread(line.connect)
        assert await line.record([second]) == {(second.id, second.attempt)}

    over_a_line(database, work)
    assert counted(database) == [("sent", 2)]


def test_a_statement_refused_by_the_server_has_written_nothing(database: Database) -> None:
    row = claimed(database)
    refused = row._replace(relay="\x00")

    async def work(line: SentConnection) -> set[tuple[int, int]] | None:
        return await line.record([refused])

    assert over_a_line(database, work) == set()
    assert written(database, row)[0] == "pending"


def test_only_an_email_sent_under_our_attempt_with_our_reply_counts_as_recorded_by_us(database: Database) -> None:
    row, other = claimed(database, "queued as 1"), claimed(database, "queued as 2")
    with database.begin() as connection:
        sent.record(connection, [row], worker=WORKER)
    with database.begin() as connection:
        mine = {(row.id, row.attempt)}
        assert sent.already_recorded(connection, [row, other]) == mine
        assert sent.already_recorded(connection, [row._replace(attempt=row.attempt + 1)]) == set()
        assert sent.already_recorded(connection, [row._replace(reply="queued as 3")]) == set()
        assert sent.already_recorded(connection, []) == set()
