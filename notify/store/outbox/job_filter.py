"""
Filters for jobs: by person, topic, event, status, relay's answer and time.

Decided: filters without an index scan a bounded number of jobs per page, newest first (``jobs.page``). An index for
    each filter would cost every email.
Decided: times are found by binary search over ids, which rise with time; a long transaction's jobs may be up to an hour
    out of order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    any_,
    func,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from notify.domain.claims import WAITING, Lane
from notify.domain.outcomes import JobStatus
from notify.domain.stages import DELIVER
from notify.store.tables.emails import email_jobs, events, notifications, work_items

EQUAL = ("username", "message_id", "outcome_reason", "last_code", "to_email")
INDEXED = ("ids", "username", "topic", "event_key", "message_id")
IN_LANES: Mapping[str, Sequence[Lane]] = MappingProxyType(
    {JobStatus.PENDING: (*WAITING, Lane.LAPSED), JobStatus.SENDING: (Lane.LEASED,), JobStatus.DEAD: (Lane.DEAD,)}
)
STORED_AS: Mapping[str, str] = MappingProxyType({JobStatus.SENDING: JobStatus.PENDING})
DISORDER = timedelta(hours=1)

_row, _item, _note = email_jobs.c, work_items.c, notifications.c
_others = email_jobs.alias("others")
_FIRST_ID = text("""
    WITH RECURSIVE halved(low, high) AS (
        SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM notify.email_jobs
        UNION ALL
        SELECT CASE WHEN there.earlier THEN there.id + 1 ELSE low END, CASE WHEN there.earlier THEN high ELSE middle END
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM halved WHERE low < high) AS step, LATERAL (
            SELECT id, created_at < :instant AS earlier FROM notify.email_jobs WHERE id >= middle ORDER BY id LIMIT 1
        ) AS there
    )
    SELECT max(low) FROM halved
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """
    Selects the jobs that match every given field; without any, all jobs.

    ``created_from`` is inclusive, ``created_before`` exclusive. ``topic`` and ``event_key`` match every email about
    such an event, replays included. ``message_id`` has no brackets; ``queue_id`` is any part of the relay's final
    reply.
    """

    ids: tuple[int, ...] | None = None
    username: str | None = None
    topic: str | None = None
    status: str | None = None
    event_key: str | None = None
    outcome_reason: str | None = None
    last_code: int | None = None
    to_email: str | None = None
    message_id: str | None = None
    queue_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no field is given."""
        return self == JobFilter()

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds these jobs, or a small superset."""
        return self.status in IN_LANES or any(getattr(self, name) is not None for name in INDEXED)


def matches(wanted: JobFilter) -> ColumnElement[bool]:
    """SQL: whether a job matches."""
    stated = [_row[name] == value for name in EQUAL if (value := getattr(wanted, name)) is not None]
    if wanted.ids is not None:
        stated.append(_row.id == any_(literal(list(wanted.ids), ARRAY(BigInteger))))
    if wanted.username is not None:
        stated.append(_tells(_note.username == wanted.username))
    if wanted.topic is not None:
        stated.append(_tells(_note.event_id.in_(select(events.c.id).where(events.c.topic == wanted.topic))))
    if wanted.event_key is not None:
        event_id = select(events.c.id).where(events.c.key == wanted.event_key).scalar_subquery()
        stated.append(_tells(_note.event_id == event_id))
    if wanted.queue_id is not None:
        stated.append(func.strpos(_row.relay_reply, wanted.queue_id) > 0)
    if wanted.created_from is not None:
        stated.append(_row.created_at >= wanted.created_from)
    if wanted.created_before is not None:
        stated.append(_row.created_at < wanted.created_before)
    if wanted.status is not None:
        stated.append(_has_status(wanted.status))
    return and_(true(), *stated)


def first_id_since(connection: Connection, instant: datetime) -> int:
    """An id below which all jobs are older than this; jobs above it may be older too."""
    return connection.scalar(_FIRST_ID, {"instant": instant - DISORDER}) or 0


def first_id_after(connection: Connection, instant: datetime) -> int:
    """An id from which on all jobs are newer than this."""
    return connection.scalar(_FIRST_ID, {"instant": instant + DISORDER}) or 0


def _has_status(status: str) -> ColumnElement[bool]:
    """SQL: whether a job has this status; pending, sending and dead are found by the work item."""
    if status not in IN_LANES:
        return _row.status == status
    lanes = list(map(int, IN_LANES[status]))
    # Written like work_items_due, or the planner cannot use that index.
    found = select(_item.id).where(_item.stage + text("''") == DELIVER, _item.lane >= text("0"), _item.lane.in_(lanes))
    return (_row.status == STORED_AS.get(status, status)) & _among(found)


def _tells(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """SQL: whether the email, or the one that it replays, includes such a notification."""
    own = select(_note.email_job_id).where(condition, _note.email_job_id.is_not(None))
    replays = select(_others.c.id).where(_others.c.replay_of == any_(func.array(own.scalar_subquery())))
    return _among(own) | _among(replays)


def _among(ids: Select[int]) -> ColumnElement[bool]:
    """As an array, so that the planner uses the primary key instead of scanning the table."""
    return _row.id == any_(func.array(ids.scalar_subquery()))
