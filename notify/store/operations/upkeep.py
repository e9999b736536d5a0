"""
What keeps the tables small: rows that are finished and old go, a small batch at a time, the oldest first.

Decided: a batch is a page of ids, which rise with time, of which those rows go that may. The next begins after its
    last row, so that what stays, such as a dead email among sent ones, is passed once a run; the first row that is
    too young whatever became of it is the last that is looked at. An index by the end would cost every row a second
    index entry, and its update a place in its own page.
Decided: nothing but the primary key decides what a page is. With a condition of which the planner knows little
    (does an email tell of it?) beside the limit, it may read the table from end to end for each batch.
Decided: the turn is a lock of each batch's transaction: a run that meets another's batch leaves the rest to that one.
Rejected: a lock of the session. Behind a pooler, nobody knows whose session it stays with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from json import dumps

from sqlalchemy import Connection, func, select

from notify.domain.retention import Kept
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.operations import stats

TURN = 0x7072756E65
ENDLESS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How many rows were looked at, how many of them went, and the id after which the next batch begins."""

    seen: int
    gone: int
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """How many rows are old enough to go."""

    jobs: int
    events: int
    stats: int


# Never one that has not ended.
_IS_OLD = "({0}.finished_at < now() - (%(kept)s::jsonb ->> {0}.status)::interval)"
# An email that waits needs the words of its events.
IS_AWAITED = """EXISTS (
            SELECT FROM notify.notifications AS note JOIN notify.email_jobs AS job ON job.id = note.email_job_id
            WHERE note.event_id = event.id AND (job.status = 'pending' OR EXISTS (
                SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id AND replay.status = 'pending'
            ))
        )"""


def _batch(table: str, alias: str, condition: str, act: str, *, also: str = "") -> str:
    """Do it to those of the next rows that were written at least so long ago for which the condition holds."""
    return f"""
    WITH seen AS MATERIALIZED (
        SELECT id, created_at < now() - %(least)s::interval AS is_old
        FROM notify.{table} WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
    ), old AS MATERIALIZED (
        SELECT id FROM seen WHERE id < (SELECT coalesce(min(id) FILTER (WHERE NOT is_old), {ENDLESS}) FROM seen)
    ), chosen AS MATERIALIZED (
        SELECT {alias}.id FROM notify.{table} AS {alias} WHERE {alias}.id = ANY (ARRAY(SELECT id FROM old))
            AND {condition} FOR UPDATE OF {alias} SKIP LOCKED
    ), gone AS (
        {act} WHERE id = ANY (ARRAY(SELECT id FROM chosen)) RETURNING id
    ){also}
    SELECT (SELECT count(*) FROM old) AS seen, (SELECT count(*) FROM gone) AS gone,
        coalesce((SELECT max(id) FROM old), %(after)s) AS reached"""


def _prune(table: str, alias: str, condition: str, stage: str) -> str:
    forgotten = f""", forgotten AS (
        DELETE FROM notify.work_items WHERE stage = '{stage}' AND id = ANY (ARRAY(SELECT id FROM gone))
    )"""
    may_go = f"{_IS_OLD.format(alias)} AND {condition}"
    return _batch(table, alias, may_go, f"DELETE FROM notify.{table}", also=forgotten)


_PRUNE_JOBS = _prune(
    "email_jobs", "job", "NOT EXISTS (SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id)", DELIVER
)
_PRUNE_EVENTS = _prune(
    "events",
    "event",
    """NOT EXISTS (
                SELECT FROM notify.notifications AS note
                WHERE note.event_id = event.id AND note.email_job_id IS NOT NULL
            )""",
    FAN_OUT,
)
_EMPTY_EVENTS = _batch(
    "events",
    "event",
    f"event.emptied_at IS NULL AND event.payload <> '{{}}' AND event.finished_at < now() - %(least)s::interval"
    f" AND NOT {IS_AWAITED}",
    "UPDATE notify.events SET payload = '{}', emptied_at = now()",
)
_PRUNE_STATS = "DELETE FROM notify.delivery_stats WHERE minute < now() - %(kept)s::interval"
_OLD_JOBS = f"""
    SELECT count(*) FROM notify.email_jobs AS job WHERE {_IS_OLD.format("job")} AND NOT EXISTS (
        SELECT FROM notify.email_jobs AS replay
        WHERE replay.replay_of = job.id AND {_IS_OLD.format("replay")} IS NOT TRUE
    )"""
_OLD_EVENTS = f"""
    SELECT count(*) FROM notify.events AS event WHERE {_IS_OLD.format("event")} AND NOT EXISTS (
        SELECT FROM notify.notifications AS note JOIN notify.email_jobs AS job ON job.id = note.email_job_id
        WHERE note.event_id = event.id AND {_IS_OLD.format("job")} IS NOT TRUE
    )"""
_OLD_STATS = "SELECT count(*) FROM notify.delivery_stats WHERE minute < now() - %(kept)s::interval"


def take_turn(connection: Connection) -> bool:
    """The right to delete, until the transaction ends; False if somebody else has it."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(TURN))))


def prune_jobs(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """
    Delete those of the next *limit* jobs that ended long enough ago, with their notifications and attempts.

    A job stays as long as any replay of it, which tells of its notifications.
    """
    return _run(connection, _PRUNE_JOBS, kept.emails, limit=limit, after=after)


def prune_events(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """Delete those of the next *limit* events that ended long enough ago and of which no email tells any more."""
    return _run(connection, _PRUNE_EVENTS, kept.events, limit=limit, after=after)


def empty_events(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """
    Delete the words of those of the next *limit* events that have had them for long enough; nothing if they may stay.

    Not while an email about the event waits. The event stays, and says since when it is empty.
    """
    if kept.bodies is None:
        return Batch(seen=0, gone=0, reached=after)
    return _run(connection, _EMPTY_EVENTS, {"": kept.bodies}, limit=limit, after=after)


def prune_stats(connection: Connection, kept: Kept) -> int:
    """Delete the counts of minutes long past, which the totals have; how many rows."""
    stats.fold(connection)
    return connection.exec_driver_sql(_PRUNE_STATS, {"kept": kept.dead}).rowcount


def old(connection: Connection, kept: Kept) -> Old:
    """What there is to delete: reads every such row once. Events are counted whose emails would all be gone."""
    by_status = {"kept": _in_words({**kept.emails, **kept.events})}
    return Old(
        jobs=connection.exec_driver_sql(_OLD_JOBS, by_status).scalar_one(),
        events=connection.exec_driver_sql(_OLD_EVENTS, by_status).scalar_one(),
        stats=connection.exec_driver_sql(_OLD_STATS, {"kept": kept.dead}).scalar_one(),
    )


def _run(connection: Connection, statement: str, kept: Mapping[str, timedelta], *, limit: int, after: int) -> Batch:
    asked = {"kept": _in_words(kept), "least": min(kept.values()), "limit": limit, "after": after}
    return Batch(**connection.exec_driver_sql(statement, asked).mappings().one())


def _in_words(kept: Mapping[str, timedelta]) -> str:
    """As PostgreSQL reads intervals, by status."""
    return dumps({status: f"{keep.total_seconds()} seconds" for status, keep in kept.items()})
