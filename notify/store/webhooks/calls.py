"""Calls that are to be made: what they tell, and what became of an attempt, recorded set by set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping

from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import EMAIL_DEAD, EMAIL_SENT, EVENT_DONE, NOTIFICATION_SKIPPED, PAYLOAD

BREAKER = "webhook "


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """
    An endpoint, as the stage needs it.

    Args:
        secrets: As they are stored, newest first; calls are signed with each.
        wait: For how many seconds it is not to be called; 0: it may be.
        is_open: Its breaker is open: if there is no wait, a single call may try it.
    """

    id: int
    name: str
    url: str
    include: frozenset[str]
    secrets: tuple[str, ...]
    is_disabled: bool
    wait: float
    is_open: bool

    @property
    def breaker(self) -> str:
        """The name of its breaker."""
        return f"{BREAKER}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A call that is to be made.

    Args:
        receiver: None: it has been removed.
        age: Seconds since the outcome, or since it was retried by hand.
    """

    id: int
    message_id: UUID
    type: str
    subject_id: int
    outcome: str
    why: str | None
    created_at: datetime
    age: float
    receiver: Receiver | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What became of an attempt; ``status`` pending: it is made again."""

    id: int
    attempt: int
    status: str
    reason: str | None = None
    code: int | None = None
    text: str | None = None
    took_ms: int | None = None


_LOAD = f"""
    SELECT call.id, call.message_id, call.type, call.subject_id, call.outcome, call.why, call.created_at,
        extract(epoch FROM now() - coalesce(call.retried_at, call.created_at))::float8 AS age, call.endpoint_id,
        receiver.name, receiver.url, receiver.include, receiver.disabled_at IS NOT NULL AS is_disabled,
        array_remove(ARRAY[
            receiver.secret, CASE WHEN receiver.old_secret_until > now() THEN receiver.old_secret END
        ], NULL) AS secrets,
        greatest(
            0, extract(epoch FROM receiver.paused_until - now()),
            CASE WHEN breaker.state = 'open' THEN extract(epoch FROM breaker.probe_at - now()) END
        )::float8 AS wait, coalesce(breaker.state = 'open', false) AS is_open
    FROM notify.webhook_calls AS call
    LEFT JOIN notify.webhook_endpoints AS receiver ON receiver.id = call.endpoint_id
    LEFT JOIN notify.endpoints AS breaker ON breaker.endpoint = '{BREAKER}' || receiver.name
    WHERE call.id = ANY (%(ids)s::bigint[])"""
# Of a digest, the first: a body has a limit.
MOST_NOTIFICATIONS = 100
# Payloads are large, and read only if an endpoint of the batch asks for them.
_PAYLOAD = "CASE WHEN %(payload)s::bool THEN event.payload END"
_NOTIFICATION = f"""jsonb_build_object(
            'id', note.id, 'event_key', event.key, 'event_type', note.event_type, 'topic', event.topic,
            'reason', note.reason, 'payload', {_PAYLOAD}
        )"""
_JOBS = f"""
    SELECT job.id, job.username, job.topic, job.message_id, job.attempts, job.replay_of, job.to_email, (
        SELECT count(*) FROM notify.notifications AS note WHERE note.email_job_id = coalesce(job.replay_of, job.id)
    ) AS notification_count, (
        SELECT jsonb_agg(first.note ORDER BY first.id) FROM (
            SELECT note.id, {_NOTIFICATION} AS note
            FROM notify.notifications AS note JOIN notify.events AS event ON event.id = note.event_id
            WHERE note.email_job_id = coalesce(job.replay_of, job.id) ORDER BY note.id LIMIT {MOST_NOTIFICATIONS}
        ) AS first
    ) AS notifications
    FROM notify.email_jobs AS job WHERE job.id = ANY (%(ids)s::bigint[])"""
_NOTIFICATIONS = f"""
    SELECT note.id, note.username, {_NOTIFICATION} AS notification
    FROM notify.notifications AS note JOIN notify.events AS event ON event.id = note.event_id
    WHERE note.id = ANY (%(ids)s::bigint[])"""
_EVENTS = f"""
    SELECT event.id, event.key, event.type, event.topic, {_PAYLOAD} AS payload, (
        SELECT count(*) FROM notify.notifications AS note WHERE note.event_id = event.id AND note.decision = 'told'
    ) AS told, (
        SELECT count(*) FROM notify.notifications AS note WHERE note.event_id = event.id AND note.decision = 'skipped'
    ) AS skipped
    FROM notify.events AS event WHERE event.id = ANY (%(ids)s::bigint[])"""
_FACTS: Mapping[str, str] = {
    EMAIL_SENT: _JOBS,
    EMAIL_DEAD: _JOBS,
    NOTIFICATION_SKIPPED: _NOTIFICATIONS,
    EVENT_DONE: _EVENTS,
}
_RECORD = """
    UPDATE notify.webhook_calls AS call SET
        status = given.status, finished_at = CASE WHEN given.status <> 'pending' THEN now() END,
        attempts = greatest(call.attempts, given.attempt), outcome_reason = given.reason,
        last_code = given.code, last_error = given.text, took_ms = given.took_ms
    FROM jsonb_to_recordset(%(given)s::jsonb) AS given(
        id bigint, attempt int, status text, reason text, code smallint, text text, took_ms int
    )
    WHERE call.id = given.id AND call.id = ANY (%(ids)s::bigint[]) AND call.status = 'pending'"""
_BURY = f"""
    UPDATE notify.webhook_calls AS call
    SET status = 'dead', finished_at = now(), outcome_reason = coalesce(left(item.reason, 250), 'unknown'),
        attempts = greatest(call.attempts, item.attempt)
    FROM notify.work_items AS item
    WHERE item.stage = '{WEBHOOKS}' AND item.id = call.id AND call.id = ANY (%(ids)s::bigint[])
        AND call.status = 'pending'"""
_PAUSE = """
    UPDATE notify.webhook_endpoints SET paused_until = greatest(paused_until, now() + %(wait)s::interval)
    WHERE id = %(id)s"""
_DISABLE = """
    UPDATE notify.webhook_endpoints SET disabled_at = now(), disabled_because = %(because)s
    WHERE id = %(id)s AND disabled_at IS NULL"""


def load(connection: Connection, ids: Sequence[int]) -> list[Call]:
    """These calls, in the order of their ids, each with its endpoint."""
    rows = connection.exec_driver_sql(_LOAD, {"ids": list(ids)}).mappings()
    return sorted(map(_call, rows), key=lambda one: one.id)


def facts(connection: Connection, calls: Sequence[Call]) -> dict[int, Mapping[str, Any]]:
    """What these calls tell of, by the id of the call; at most a statement for each kind. Absent: it was pruned."""
    found: dict[int, Mapping[str, Any]] = {}
    for statement in dict.fromkeys(_FACTS.values()):
        mine = [one for one in calls if _FACTS.get(one.type) == statement]
        if not mine:
            continue
        payload = any(PAYLOAD in one.receiver.include for one in mine if one.receiver)
        asked = {"ids": [one.subject_id for one in mine], "payload": payload}
        rows = connection.exec_driver_sql(statement, asked).mappings()
        by_id = {row["id"]: dict(row) for row in rows}
        found |= {one.id: by_id[one.subject_id] for one in mine if one.subject_id in by_id}
    return found


def record(connection: Connection, results: Sequence[CallResult]) -> None:
    """Record the results of attempts whose lease was still theirs."""
    if results:
        given = dumps([asdict(one) for one in results])
        connection.exec_driver_sql(_RECORD, {"given": given, "ids": [one.id for one in results]})


def bury(connection: Connection, ids: Sequence[int]) -> None:
    """Mark these calls as dead; ``work_items`` has the reason."""
    connection.exec_driver_sql(_BURY, {"ids": list(ids)})


def pause(connection: Connection, endpoint_id: int, *, seconds: float) -> None:
    """Make no calls to this endpoint for so long."""
    connection.exec_driver_sql(_PAUSE, {"id": endpoint_id, "wait": f"{seconds} seconds"})


def disable(connection: Connection, endpoint_id: int, *, because: str) -> None:
    """Tell this endpoint of nothing more."""
    connection.exec_driver_sql(_DISABLE, {"id": endpoint_id, "because": because})


def _call(row: RowMapping) -> Call:
    receiver = None
    if row["name"] is not None:
        receiver = Receiver(
            id=row["endpoint_id"],
            name=row["name"],
            url=row["url"],
            include=frozenset(row["include"]),
            secrets=tuple(row["secrets"]),
            is_disabled=row["is_disabled"],
            wait=row["wait"],
            is_open=row["is_open"],
        )
    own = {name: row[name] for name in Call.__slots__ if name != "receiver"}
    return Call(**own, receiver=receiver)
