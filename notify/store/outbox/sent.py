"""
What mostly happens to an email, written in one statement: it is out, and its lease was ours until now.

Decided: a worker has a connection of its own for it, in its event loop, where the statement is prepared and commits
    by itself: no thread, no pool, no BEGIN and COMMIT. Whatever goes wrong there is left to the careful way, which asks
    for what may have been written unheard (``already_ours``).
Decided: an array is one literal. psycopg would make each of its elements a parameter of its own first.
Rejected: the same behind a pooler, where what notify needs of a session comes with each BEGIN.
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


class Row(NamedTuple):
    """One email that was sent; the relay's answer to it, and how long it took."""

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
    WITH ending AS MATERIALIZED (
        SELECT * FROM unnest(
            %(ids)s::bigint[], %(attempts)s::int[], %(types)s::text[], %(codes)s::smallint[], %(enhanced)s::text[],
            %(replies)s::text[], %(addresses)s::text[], %(relays)s::text[], %(took)s::int[]
        ) AS ending(id, attempt, event_type, code, enhanced, reply, address, relay, took)
    ), locked AS MATERIALIZED (
        SELECT item.id, item.attempt, item.lane FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (ARRAY(
            SELECT locked.id FROM locked JOIN ending ON ending.id = locked.id AND ending.attempt = locked.attempt
            WHERE locked.lane = 8
        ))
        RETURNING item.id, item.attempt, item.lapses
    ), ended AS (
        UPDATE notify.email_jobs AS job
        SET status = 'sent', finished_at = now(), attempts = ending.attempt, lapses = gone.lapses,
            outcome_reason = NULL, last_code = ending.code, last_enhanced_code = ending.enhanced,
            last_error = NULL, relay_reply = ending.reply,
            to_email = coalesce(ending.address, job.to_email), relay = ending.relay, sent_in_ms = ending.took
        FROM ending JOIN gone ON gone.id = ending.id AND gone.attempt = ending.attempt
        WHERE job.id = ANY (%(ids)s::bigint[]) AND job.id = ending.id AND job.status = 'pending'
        RETURNING job.id, job.attempts, ending.event_type
    ), counted AS (
        INSERT INTO notify.delivery_stats AS stats (minute, worker, event_type, outcome, count)
        SELECT date_trunc('minute', now()), %(worker)s::uuid, ended.event_type, 'sent', count(*)
        FROM ended GROUP BY ended.event_type
        ON CONFLICT (minute, worker, event_type, outcome) DO UPDATE SET count = stats.count + excluded.count
    )
    SELECT ended.id, ended.attempts FROM ended
"""
# Who writes them at this moment is waited for.
_LOCK = """
    SELECT item.id FROM notify.work_items AS item
    WHERE item.stage = 'deliver' AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
"""
_OURS = """
    SELECT job.id, job.attempts FROM notify.email_jobs AS job
    JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[], %(replies)s::text[]) AS ending(id, attempt, reply)
        ON ending.id = job.id AND ending.attempt = job.attempts AND ending.reply IS NOT DISTINCT FROM job.relay_reply
    WHERE job.id = ANY (%(ids)s::bigint[]) AND job.status = 'sent'
"""


def record(connection: Connection, rows: Sequence[Row], *, worker: UUID) -> set[Attempt]:
    """Write and count those that were ours until now; which. The rest is to be looked at with care."""
    if not rows:
        return set()
    values = {**_parameters(rows), "worker": worker}
    return {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_SENT, values)}


def already_ours(connection: Connection, rows: Sequence[Row]) -> set[Attempt]:
    """Those that an earlier attempt to write them has written and counted, though nobody heard of it."""
    if not rows:
        return set()
    values = _parameters(rows)
    connection.exec_driver_sql(_LOCK, values)
    return {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_OURS, values)}


def _parameters(rows: Sequence[Row]) -> dict[str, str]:
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


class Line:
    """
    The connection over which one worker writes what was sent. Lives in one event loop.

    It is one of the database's, made as the pool makes its own, and beside them.
    """

    def __init__(self, database: Database, *, worker: UUID) -> None:
        self._database = database
        self._worker = worker
        self._usable = True
        self._made: TimedConnection | None = None
        self._line: _TimedConnectionLine | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether ``connect`` should be called: there is no connection, and no pooler is known to stand between."""
        return self._line is None and self._usable

    def connect(self) -> None:
        """Connect, if the database answers and no pooler stands between. Waits: not for the event loop."""
        try:
            pooled = self._database.engine.raw_connection()
            made = cast("TimedConnection", pooled.driver_connection)
            pooled.detach()
            if made.is_pooled:
                self._usable = False
                made.close()
                return
            made.autocommit = True
            made.execute("DEALLOCATE ALL")  # the pool may have used it, and names are given again from the first
        except (SQLAlchemyError, psycopg.Error):
            return
        self._made, self._line = made, _TimedConnectionLine(made.pgconn)
        self._line.longest_wait_seconds = made.longest_wait_seconds
        self._line.prepare_threshold = 0

    async def record(self, rows: Sequence[Row]) -> set[Attempt] | None:
        """Write and count those that were ours until now; which. None: it may have, but nobody has heard of it."""
        line = self._line
        if line is None:
            return set()
        try:
            if not line.autocommit:
                await line.set_autocommit(True)
            answer = await line.execute(_SENT, {**_parameters(rows), "worker": self._worker})
            return set(await answer.fetchall())
        except psycopg.Error:
            heard = not line.closed
            await self.close()
            return set() if heard else None

    async def close(self) -> None:
        """Leave; the next ``connect`` makes another. Safe to repeat."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()
        self._made = None


class _TimedConnectionLine(psycopg.AsyncConnection[Any]):
    """What ``TimedConnection`` is, in an event loop: given up when an answer does not come."""

    longest_wait_seconds: float | None = None

    async def wait(self, gen: PQGen[Result], interval: float = POLL_SECONDS, timeout: float | None = None) -> Result:  # noqa: ASYNC109
        try:
            return await super().wait(gen, interval, self.longest_wait_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise
