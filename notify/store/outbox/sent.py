"""
The usual outcome, recorded in one statement: the email was sent and the lease was still ours.

Decided: each worker has a connection for it in its event loop, where the statement is prepared and commits by itself:
    no thread, no pool, no BEGIN and COMMIT. Whatever fails there is recorded by ``outbox.record``, after
    ``already_recorded`` has found what was written without confirmation.
Decided: an array is one literal. psycopg would first make each element a parameter.
Rejected: the same behind a pooler, where session settings are sent with each BEGIN.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from notify.store.database import POLL_SECONDS, Database, TimedConnection
from notify.store.outbox.items import Attempt

Result = TypeVar("Result")


class SentRow(NamedTuple):
    """A sent email with the relay's reply and how long it took."""

    id: int
    attempt: int
    event_type: str
    code: int | None
    enhanced: str | None
    reply: str | None
    address: str | None
    relay: str | None
    took_ms: int | None


_SENT = """
    WITH email AS MATERIALIZED (
        SELECT * FROM unnest(
            %(ids)s::bigint[], %(attempts)s::int[], %(types)s::text[], %(codes)s::smallint[], %(enhanced)s::text[],
            %(replies)s::text[], %(addresses)s::text[], %(relays)s::text[], %(took)s::int[]
        ) AS email(id, attempt, event_type, code, enhanced, reply, address, relay, took)
    ), locked AS MATERIALIZED (
        SELECT item.id, item.attempt, item.lane FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (ARRAY(
            SELECT locked.id FROM locked JOIN email ON email.id = locked.id AND email.attempt = locked.attempt
            WHERE locked.lane = 8
        ))
        RETURNING item.id, item.attempt, item.lapses
    ), ended AS (
        UPDATE notify.email_jobs AS job
        SET status = 'sent', finished_at = now(), attempts = email.attempt, lapses = gone.lapses,
            outcome_reason = NULL, last_code = email.code, last_enhanced_code = email.enhanced,
            last_error = NULL, relay_reply = email.reply,
            to_email = coalesce(email.address, job.to_email), relay = email.relay, sent_in_ms = email.took
        FROM email JOIN gone ON gone.id = email.id AND gone.attempt = email.attempt
        WHERE job.id = ANY (%(ids)s::bigint[]) AND job.id = email.id AND job.status = 'pending'
        RETURNING job.id, job.attempts, email.event_type
    ), counted AS (
        INSERT INTO notify.delivery_stats AS stats (minute, worker, event_type, outcome, count)
        SELECT date_trunc('minute', now()), %(worker)s::uuid, ended.event_type, 'sent', count(*)
        FROM ended GROUP BY ended.event_type
        ON CONFLICT (minute, worker, event_type, outcome) DO UPDATE SET count = stats.count + excluded.count
    )
    SELECT ended.id, ended.attempts FROM ended
"""
# Waits for concurrent writers.
_LOCK = """
    SELECT item.id FROM notify.work_items AS item
    WHERE item.stage = 'deliver' AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
"""
_OURS = """
    SELECT job.id, job.attempts FROM notify.email_jobs AS job
    JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[], %(replies)s::text[]) AS email(id, attempt, reply)
        ON email.id = job.id AND email.attempt = job.attempts AND email.reply IS NOT DISTINCT FROM job.relay_reply
    WHERE job.id = ANY (%(ids)s::bigint[]) AND job.status = 'sent'
"""


def record(connection: Connection, rows: Sequence[SentRow], *, worker: UUID) -> set[Attempt]:
    """Record and count those whose lease is still ours; returns them. The caller records the rest individually."""
    if not rows:
        return set()
    values = {**_parameters(rows), "worker": worker}
    return {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_SENT, values)}


def already_recorded(connection: Connection, rows: Sequence[SentRow]) -> set[Attempt]:
    """Those that an earlier, unconfirmed ``record`` has recorded and counted."""
    if not rows:
        return set()
    values = _parameters(rows)
    connection.exec_driver_sql(_LOCK, values)
    return {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_OURS, values)}


def _parameters(rows: Sequence[SentRow]) -> dict[str, str]:
    ids, attempts, types, codes, enhanced, replies, addresses, relays, took = zip(*rows, strict=True)
    return {
        "ids": _numbers(ids),
        "attempts": _numbers(attempts),
        "types": _texts(types),
        "codes": _numbers(codes),
        "enhanced": _texts(enhanced),
        "replies": _texts(replies),
        "addresses": _texts(addresses),
        "relays": _texts(relays),
        "took": _numbers(took),
    }


def _numbers(values: Iterable[int | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _texts(values: Iterable[str | None]) -> str:
    """Source: PostgreSQL's documentation, "Array Input and Output Syntax"."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


class SentConnection:
    """A worker's own connection for recording sent emails, outside the pool. Lives in one event loop."""

    def __init__(self, database: Database, *, worker: UUID) -> None:
        self._database = database
        self._worker = worker
        self._usable = True
        self._made: TimedConnection | None = None
        self._connection: _TimedAsyncConnection | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether to call ``connect``: there is no connection, and no pooler was found."""
        return self._connection is None and self._usable

    def connect(self) -> None:
        """Connect, unless the database is unavailable or there is a pooler. Blocks: not for the event loop."""
        try:
            pooled = self._database.engine.raw_connection()
            made = cast("TimedConnection", pooled.driver_connection)
            pooled.detach()
            if made.is_pooled:
                self._usable = False
                made.close()
                return
            made.autocommit = True
            made.execute("DEALLOCATE ALL")  # the pool may have used it, and psycopg reuses the names
        except (SQLAlchemyError, psycopg.Error):
            return
        self._made, self._connection = made, _TimedAsyncConnection(made.pgconn)
        self._connection.longest_wait_seconds = made.longest_wait_seconds
        self._connection.prepare_threshold = 0

    async def record(self, rows: Sequence[SentRow]) -> set[Attempt] | None:
        """Record and count those whose lease is still ours; returns them. None: the database did not confirm."""
        connection = self._connection
        if connection is None:
            return set()
        try:
            if not connection.autocommit:
                await connection.set_autocommit(True)
            answer = await connection.execute(_SENT, {**_parameters(rows), "worker": self._worker})
            return set(await answer.fetchall())
        except psycopg.Error:
            confirmed = not connection.closed
            await self.close()
            return set() if confirmed else None

    async def close(self) -> None:
        """Close; ``connect`` opens another. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._made = None


class _TimedAsyncConnection(psycopg.AsyncConnection[Any]):
    """``TimedConnection`` for an event loop."""

    longest_wait_seconds: float | None = None

    async def wait(self, gen: PQGen[Result], interval: float = POLL_SECONDS, timeout: float | None = None) -> Result:  # noqa: ASYNC109
        try:
            return await super().wait(gen, interval, self.longest_wait_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise
