"""What people ask of webhook calls: list them, newest first, show one, count them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from notify.domain.claims import WAITING, Lane
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import CallStatus

NEWEST = 10_000
RETRYING = "retrying"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """The calls to which everything that is given applies; nothing given means all. ``endpoint`` is a name."""

    endpoint: str | None = None
    status: CallStatus | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One webhook call."""

    id: int
    endpoint: str | None = field(metadata={"description": "Name of the endpoint. Null: it was removed."})
    webhook_id: str = field(metadata={"description": "The same in every attempt."})
    type: str = field(metadata={"description": "What it tells, such as `email.sent`."})
    subject_id: int = field(metadata={"description": "Id of the email job, the notification or the event."})
    outcome: str = field(metadata={"description": "How that ended, such as `sent`."})
    why: str | None = field(metadata={"description": "Why it ended so. Null: no reason is needed."})
    status: CallStatus
    attempts: int = field(metadata={"description": "How many attempts have begun."})
    failures: int = field(metadata={"description": "Attempts that failed. 0 once finished, unless dead."})
    outcome_reason: str | None = field(
        metadata={"description": "Why it is dead or skipped, or why the last attempt failed. Null: neither."}
    )
    last_code: int | None = field(metadata={"description": "HTTP status of the last attempt. Null: no answer."})
    last_error: str | None = field(metadata={"description": "Why there was no answer. Null: there was one."})
    took_ms: int | None = field(metadata={"description": "Milliseconds that the last attempt took. Null: none ended."})
    replay_of: int | None = field(metadata={"description": "The call that this one repeats. Null: none."})
    due_at: datetime | None = field(
        metadata={"description": "When a pending call is made, at the earliest. Null: not pending."}
    )
    created_at: datetime
    finished_at: datetime | None


_VIEW = f"""
    SELECT call.id, receiver.name AS endpoint, 'msg_' || replace(call.message_id::text, '-', '') AS webhook_id,
        call.type, call.subject_id, call.outcome, call.why, call.status,
        greatest(call.attempts, item.attempt) AS attempts, coalesce(item.failures, 0) AS failures,
        call.outcome_reason, call.last_code, call.last_error, call.took_ms, call.replay_of,
        CASE WHEN call.status = 'pending' THEN item.due_at END AS due_at, call.created_at, call.finished_at
    FROM notify.webhook_calls AS call
    LEFT JOIN notify.webhook_endpoints AS receiver ON receiver.id = call.endpoint_id
    LEFT JOIN notify.work_items AS item ON item.stage = '{WEBHOOKS}' AND item.id = call.id"""
# In the words of work_items_due: with others the planner cannot know that it may use the index.
_IN_LANES = f"""call.id = ANY (ARRAY(
        SELECT known.id FROM notify.work_items AS known
        WHERE known.stage || '' = '{WEBHOOKS}' AND known.lane >= 0 AND known.lane = ANY (%(lanes)s::smallint[])
    ))"""
_LANES = {CallStatus.PENDING: (*WAITING, Lane.LAPSED, Lane.LEASED), CallStatus.DEAD: (Lane.DEAD,)}
_CONDITIONS = {
    "endpoint": "call.endpoint_id = (SELECT id FROM notify.webhook_endpoints WHERE name = %(endpoint)s)",
    "status": "call.status = %(status)s",
    "type": "call.type = %(type)s",
}
_COUNTED = f"""
    SELECT receiver.name, newest.status, count(*) FROM (
        SELECT endpoint_id,
            CASE WHEN status = 'pending' AND outcome_reason IS NOT NULL THEN '{RETRYING}' ELSE status END AS status
        FROM notify.webhook_calls ORDER BY id DESC LIMIT {NEWEST}
    ) AS newest JOIN notify.webhook_endpoints AS receiver ON receiver.id = newest.endpoint_id GROUP BY 1, 2"""


def newest(connection: Connection, wanted: CallFilter, *, below: int | None = None, limit: int) -> Sequence[CallView]:
    """The newest *limit* of these calls with an id below *below*, newest first."""
    asked = {name: getattr(wanted, name) for name in _CONDITIONS}
    conditions = [sql for name, sql in _CONDITIONS.items() if asked[name] is not None]
    lanes = _LANES.get(wanted.status, ()) if wanted.status else ()
    conditions += [_IN_LANES] if lanes else []
    conditions += ["call.id < %(below)s"] if below is not None else []
    statement = f"{_VIEW} WHERE {' AND '.join(['true', *conditions])} ORDER BY call.id DESC LIMIT %(limit)s"
    values = {**asked, "lanes": list(map(int, lanes)), "below": below, "limit": limit}
    return [_viewed(row) for row in connection.exec_driver_sql(statement, values).mappings()]


def views(connection: Connection, ids: Sequence[int]) -> dict[int, CallView]:
    """Those of these calls that there are, by id."""
    rows = connection.exec_driver_sql(f"{_VIEW} WHERE call.id = ANY (%(ids)s::bigint[])", {"ids": list(ids)}).mappings()
    return {row["id"]: _viewed(row) for row in rows}


def view(connection: Connection, id_: int) -> CallView | None:
    """One call; None: there is none."""
    return views(connection, [id_]).get(id_)


def counted(connection: Connection) -> Mapping[tuple[str, str], int]:
    """
    How many of the ``NEWEST`` calls are to each endpoint and have each status; where there are none, it is absent.

    Those that wait after an attempt that failed are ``RETRYING``.
    """
    return {(name, status): count for name, status, count in connection.exec_driver_sql(_COUNTED).cursor.fetchall()}


def _viewed(row: RowMapping) -> CallView:
    return CallView(**{**row, "status": CallStatus(row["status"])})
