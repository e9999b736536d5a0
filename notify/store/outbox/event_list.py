"""What operators ask of events and do to them: list them, newest first, and retry them by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from notify.domain.claims import WAITING, Lane
from notify.domain.outcomes import EventStatus
from notify.domain.stages import FAN_OUT

MAX_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """
    The events to which everything that is given applies; nothing given means all.

    ``reason`` is why the last attempt to fan out failed, or why the event is dead, up to a colon.
    """

    keys: Sequence[str] | None = None
    topic: str | None = None
    status: EventStatus | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEvent:
    """
    An event and how far its fan-out is.

    ``reason`` None: no attempt has failed. ``due_at`` is when it is tried next; None: it has ended.
    """

    id: int
    key: str
    type: str
    topic: str
    actor: str
    status: EventStatus
    reason: str | None
    failures: int
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


_LANES = {
    EventStatus.PENDING: (*WAITING, Lane.LAPSED),
    EventStatus.WORKING: (Lane.LEASED,),
    EventStatus.DEAD: (Lane.DEAD,),
}
# In the words of work_items_due: with others the planner cannot know that it may use the index.
_IN_LANES = f"""event.id = ANY (ARRAY(
        SELECT known.id FROM notify.work_items AS known
        WHERE known.stage || '' = '{FAN_OUT}' AND known.lane >= 0 AND known.lane = ANY (%(lanes)s::smallint[])
            AND (%(reason)s::text IS NULL OR split_part(known.reason, ':', 1) = %(reason)s)
    ))"""
_LIST = f"""
    SELECT event.id, event.key, event.type, event.topic, event.actor,
        CASE WHEN item.lane = {Lane.LEASED:d} THEN '{EventStatus.WORKING}' ELSE event.status END AS status,
        item.reason, coalesce(item.failures, 0) AS failures,
        CASE WHEN event.status = 'pending' THEN item.due_at END AS due_at, event.created_at, event.finished_at
    FROM notify.events AS event LEFT JOIN notify.work_items AS item ON item.stage = '{FAN_OUT}' AND item.id = event.id
    WHERE {{}} ORDER BY event.id DESC LIMIT %(limit)s"""
# Whatever it was before, the event is tried at once; what has failed is kept.
_RETRY = f"""
    WITH chosen AS MATERIALIZED (
        SELECT item.id FROM notify.work_items AS item
        WHERE item.stage = '{FAN_OUT}' AND item.id = ANY (%(ids)s::bigint[]) AND item.lane + 0 <> {Lane.LEASED:d}
        ORDER BY item.id FOR UPDATE
    ), revived AS (
        UPDATE notify.events AS event SET status = '{EventStatus.PENDING}', finished_at = NULL
        WHERE event.id = ANY (ARRAY(SELECT chosen.id FROM chosen)) AND event.emptied_at IS NULL
        RETURNING event.id, event.type
    )
    UPDATE notify.work_items AS item SET due_at = now(), reason = NULL,
        max_failures = greatest(item.max_failures, item.failures + {MAX_FAILURES}),
        lane = CASE WHEN item.lane < {Lane.DEAD:d} THEN item.lane WHEN item.lapses > 0 THEN {Lane.LAPSED:d}
            WHEN kind.system_required THEN {Lane.URGENT:d} ELSE {Lane.NORMAL:d} END
    FROM revived LEFT JOIN notify.notification_event_types AS kind ON kind.code = revived.type
    WHERE item.stage = '{FAN_OUT}' AND item.id = revived.id
    RETURNING item.id"""


def newest(
    connection: Connection, wanted: EventFilter, *, below: int | None = None, limit: int
) -> Sequence[ListedEvent]:
    """The newest *limit* of these events with an id below *below*, newest first."""
    lanes = _LANES.get(wanted.status, ()) if wanted.status else [lane for some in _LANES.values() for lane in some]
    by_item = wanted.reason is not None or wanted.status in _LANES
    conditions = {
        "event.key = ANY (%(keys)s::text[])": wanted.keys is not None,
        "event.topic = %(topic)s": wanted.topic is not None,
        "event.id < %(below)s": below is not None,
        _IN_LANES: by_item,
        "event.status = %(status)s": wanted.status is not None and wanted.status not in _LANES,
    }
    statement = _LIST.format(" AND ".join(["true", *(sql for sql, is_asked in conditions.items() if is_asked)]))
    asked = {
        "keys": list(wanted.keys or ()),
        "topic": wanted.topic,
        "status": wanted.status,
        "reason": wanted.reason,
        "below": below,
    }
    found = connection.exec_driver_sql(statement, {**asked, "lanes": list(map(int, lanes)), "limit": limit})
    return [ListedEvent(**{**row, "status": EventStatus(row["status"])}) for row in found.mappings()]


def retry(connection: Connection, ids: Sequence[int]) -> list[int]:
    """
    Make these events due now, dead ones too; the ids of those for which that was possible.

    One that is done, is being fanned out at this moment or has lost its text is left as it is.
    """
    return sorted(connection.exec_driver_sql(_RETRY, {"ids": list(ids)}).scalars())
