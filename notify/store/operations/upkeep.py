"""
Retention: deletes old finished rows in small batches, the oldest first.

Decided: a batch is a range of ids, which rise with time; the rows in it that may be deleted are. The next batch
    begins after it, so that kept rows are read once a run, and the run ends at the first row that is too young. An
    index on the end time would cost every row an index entry and its final update the HOT path.
Decided: only the primary key delimits a batch. With further conditions beside LIMIT, the planner may scan the whole
    table for each batch.
Decided: runs exclude each other by a lock in each batch's transaction; one that finds it taken stops.
Rejected: a session lock. Behind a pooler, nobody knows which client it stays with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from json import dumps

from sqlalchemy import Connection, func, select

from notify.domain.retention import RetentionPeriods
from notify.domain.stages import DELIVER, FAN_OUT, HEADS, INBOX, STATUSES, WEBHOOKS
from notify.store.operations import stats

PRUNING_LOCK = 0x7072756E65
ENDLESS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How many rows were read and deleted, and the id after which the next batch begins."""

    read: int
    deleted: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRows:
    """How many rows are old enough to be deleted."""

    jobs: int
    events: int
    deliveries: int
    logins: int
    statuses: int
    calls: int
    requests: int
    stats: int


# Null, hence false, for rows that have not ended.
_IS_OLD = "({0}.finished_at < now() - (%(kept)s::jsonb ->> {0}.status)::interval)"
# A pending email still needs the payload of its events.
IS_NEEDED = """EXISTS (
            SELECT FROM notify.notifications AS note JOIN notify.email_jobs AS job ON job.id = note.email_job_id
            WHERE note.event_id = event.id AND (job.status = 'pending' OR EXISTS (
                SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id AND replay.status = 'pending'
            ))
        )"""


def _batch(
    table: str, alias: str, condition: str, act: str, *, also: str = "", key: str = "id", returned: str = "id"
) -> str:
    """SQL that applies *act* to the old rows of the next batch for which *condition* holds; *key* rises with time."""
    return f"""
    WITH seen AS MATERIALIZED (
        SELECT {key} AS id, created_at < now() - %(least)s::interval AS is_old
        FROM notify.{table} WHERE {key} > %(after)s ORDER BY {key} LIMIT %(limit)s
    ), old AS MATERIALIZED (
        SELECT id FROM seen WHERE id < (SELECT coalesce(min(id) FILTER (WHERE NOT is_old), {ENDLESS}) FROM seen)
    ), chosen AS MATERIALIZED (
        SELECT {alias}.{key} AS id FROM notify.{table} AS {alias} WHERE {alias}.{key} = ANY (ARRAY(SELECT id FROM old))
            AND {condition} FOR UPDATE OF {alias} SKIP LOCKED
    ), gone AS (
        {act} WHERE {key} = ANY (ARRAY(SELECT id FROM chosen)) RETURNING {returned}
    ){also}
    SELECT (SELECT count(*) FROM old) AS read, (SELECT count(*) FROM gone) AS deleted,
        coalesce((SELECT max(id) FROM old), %(after)s) AS last_id"""


def _forgotten(stage: str, key: str = "id") -> str:
    return f""", forgotten AS (
        DELETE FROM notify.work_items WHERE stage = '{stage}' AND id = ANY (ARRAY(SELECT {key} FROM gone))
    )"""


def _prune(table: str, alias: str, condition: str, stage: str) -> str:
    may_go = f"{_IS_OLD.format(alias)} AND {condition}"
    return _batch(table, alias, may_go, f"DELETE FROM notify.{table}", also=_forgotten(stage))


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
_PRUNE_DELIVERIES = _prune("webhook_deliveries", "delivery", "true", INBOX)
_PRUNE_STATUSES = _prune("commit_statuses", "target", "true", STATUSES)
# Nobody can retry a dead call whose endpoint was removed.
_IS_OLD_CALL = f"""({_IS_OLD.format("call")} OR call.finished_at < now() - %(least)s::interval AND NOT EXISTS (
                SELECT FROM notify.webhook_endpoints AS receiver WHERE receiver.id = call.endpoint_id
            ))"""
_PRUNE_CALLS = _batch(
    "webhook_calls", "call", _IS_OLD_CALL, "DELETE FROM notify.webhook_calls", also=_forgotten(WEBHOOKS)
)
# The newest fact says whether the next head breaks the queue, or repairs it.
_IS_OLD_REQUEST = """request.finished_at < now() - %(least)s::interval
            AND EXISTS (
                SELECT FROM notify.queues AS queue
                WHERE queue.name = request.queue AND request.id < queue.latest_request_id
                    AND request.id IS DISTINCT FROM queue.last_green_request_id
                    AND request.id <> ALL (queue.in_flight)
            )
            AND request.id IS DISTINCT FROM (
                SELECT fact.request_id FROM notify.facts AS fact
                WHERE fact.queue = request.queue AND fact.project = '' ORDER BY fact.request_id DESC LIMIT 1
            )"""
_PRUNE_REQUESTS = _batch(
    "requests",
    "request",
    _IS_OLD_REQUEST,
    "DELETE FROM notify.requests",
    key="item_id",
    returned="item_id, queue, id, uri",
    also=_forgotten(HEADS, "item_id")
    + """, unbuilt AS (
        DELETE FROM notify.builds AS build USING gone WHERE build.queue = gone.queue AND build.request_id = gone.id
    ), unclaimed AS (
        DELETE FROM notify.request_uris AS claimed USING gone
        WHERE claimed.queue = gone.queue AND claimed.uri = gone.uri AND claimed.request_id = gone.id
    ), unknown AS (
        DELETE FROM notify.facts AS fact USING gone WHERE fact.queue = gone.queue AND fact.request_id = gone.id
    )""",
)
_EMPTY_EVENTS = _batch(
    "events",
    "event",
    f"event.emptied_at IS NULL AND event.payload <> '{{}}' AND event.finished_at < now() - %(least)s::interval"
    f" AND NOT {IS_NEEDED}",
    "UPDATE notify.events SET payload = '{}', emptied_at = now()",
)
_PRUNE_STATS = "DELETE FROM notify.delivery_stats WHERE minute < now() - %(kept)s::interval"
_PRUNE_LOGINS = "DELETE FROM notify.unmapped_logins WHERE last_at < now() - %(kept)s::interval"
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
_OLD_DELIVERIES = f"SELECT count(*) FROM notify.webhook_deliveries AS delivery WHERE {_IS_OLD.format('delivery')}"
_OLD_STATUSES = f"SELECT count(*) FROM notify.commit_statuses AS target WHERE {_IS_OLD.format('target')}"
_OLD_CALLS = f"SELECT count(*) FROM notify.webhook_calls AS call WHERE {_IS_OLD_CALL}"
_OLD_REQUESTS = f"SELECT count(*) FROM notify.requests AS request WHERE {_IS_OLD_REQUEST}"
_OLD_STATS = "SELECT count(*) FROM notify.delivery_stats WHERE minute < now() - %(kept)s::interval"

_OLD_LOGINS = "SELECT count(*) FROM notify.unmapped_logins WHERE last_at < now() - %(kept)s::interval"


def try_lock(connection: Connection) -> bool:
    """Lock pruning until the transaction ends; False: another process has the lock."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(PRUNING_LOCK))))


def prune_jobs(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """
    Delete old jobs among the next *limit*, with their notifications and attempts.

    A job stays as long as any of its replays, which use its notifications.
    """
    return _run(connection, _PRUNE_JOBS, kept.emails, limit=limit, after=after)


def prune_events(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """Delete old events without emails among the next *limit*."""
    return _run(connection, _PRUNE_EVENTS, kept.events, limit=limit, after=after)


def prune_deliveries(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """Delete old webhook deliveries among the next *limit*."""
    return _run(connection, _PRUNE_DELIVERIES, kept.webhooks, limit=limit, after=after)


def prune_statuses(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """Delete old targets among the next *limit*, with their attempts."""
    return _run(connection, _PRUNE_STATUSES, kept.commit_statuses, limit=limit, after=after)


def prune_calls(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """Delete old webhook calls among the next *limit*; those of removed endpoints as soon as delivered ones."""
    return _run(connection, _PRUNE_CALLS, kept.calls, limit=limit, after=after)


def prune_requests(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """
    Delete old requests among the next *limit*, with their URIs, builds and facts.

    Each queue keeps its newest request, its last green one, those with a slot, and the one with its newest fact.
    """
    return _run(connection, _PRUNE_REQUESTS, {"": kept.requests}, limit=limit, after=after)


def empty_events(connection: Connection, kept: RetentionPeriods, *, limit: int, after: int = 0) -> Batch:
    """
    Delete the payload of old events among the next *limit*; does nothing if payloads are kept for ever.

    An event that a pending email needs keeps it. ``emptied_at`` records the deletion.
    """
    if kept.bodies is None:
        return Batch(read=0, deleted=0, last_id=after)
    return _run(connection, _EMPTY_EVENTS, {"": kept.bodies}, limit=limit, after=after)


def prune_stats(connection: Connection, kept: RetentionPeriods) -> int:
    """Delete old minutes, which the totals include; returns how many rows."""
    stats.fold(connection)
    return connection.exec_driver_sql(_PRUNE_STATS, {"kept": kept.dead}).rowcount


def prune_logins(connection: Connection, kept: RetentionPeriods) -> int:
    """Delete logins without a person that have missed nothing for long; returns how many."""
    return connection.exec_driver_sql(_PRUNE_LOGINS, {"kept": kept.dead}).rowcount


def old(connection: Connection, kept: RetentionPeriods) -> OldRows:
    """How many rows a complete run would delete. Reads them all."""
    by_status = {"kept": _as_json({**kept.emails, **kept.events})}
    return OldRows(
        jobs=connection.exec_driver_sql(_OLD_JOBS, by_status).scalar_one(),
        events=connection.exec_driver_sql(_OLD_EVENTS, by_status).scalar_one(),
        deliveries=connection.exec_driver_sql(_OLD_DELIVERIES, {"kept": _as_json(kept.webhooks)}).scalar_one(),
        logins=connection.exec_driver_sql(_OLD_LOGINS, {"kept": kept.dead}).scalar_one(),
        statuses=connection.exec_driver_sql(_OLD_STATUSES, {"kept": _as_json(kept.commit_statuses)}).scalar_one(),
        calls=connection.exec_driver_sql(
            _OLD_CALLS, {"kept": _as_json(kept.calls), "least": min(kept.calls.values())}
        ).scalar_one(),
        requests=connection.exec_driver_sql(_OLD_REQUESTS, {"least": kept.requests}).scalar_one(),
        stats=connection.exec_driver_sql(_OLD_STATS, {"kept": kept.dead}).scalar_one(),
    )


def _run(connection: Connection, statement: str, kept: Mapping[str, timedelta], *, limit: int, after: int) -> Batch:
    asked = {"kept": _as_json(kept), "least": min(kept.values()), "limit": limit, "after": after}
    return Batch(**connection.exec_driver_sql(statement, asked).mappings().one())


def _as_json(kept: Mapping[str, timedelta]) -> str:
    """Intervals for PostgreSQL, as JSON by status."""
    return dumps({status: f"{keep.total_seconds()} seconds" for status, keep in kept.items()})
