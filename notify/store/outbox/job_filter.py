"""
Filters of jobs: by person, topic, event, status, relay's answer and time.

Decided: what no index finds is looked for among a bounded number of jobs at a time, newest first,
    and the next look goes on below them (``notify.store.outbox.jobs.page``). An index for each question would
    cost every email.
Decided: an instant is found among the ids, which rise with it, by halving them; a job that a long
    transaction wrote is at most an hour out of order.
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

SAME = ("username", "message_id", "outcome_reason", "last_code", "to_email")
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
    The jobs to which everything that is given applies; nothing given means all.

    ``outcome_reason`` and ``last_code`` are what the last attempt left; ``created_from`` is the first
    instant that counts and ``created_before`` the first that does not. ``topic`` and ``event_key`` mean every email
    that tells of such an event, replays too. ``message_id`` is without brackets; ``queue_id`` is any part of the
    relay's words when it took the email.
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
        """Whether nothing is given."""
        return self == JobFilter()

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds these jobs, or all of those among which they are."""
        return self.status in IN_LANES or any(getattr(self, name) is not None for name in INDEXED)


def matches(wanted: JobFilter) -> ColumnElement[bool]:
    """Whether a job passes the filter."""
    stated = [_row[name] == value for name in SAME if (value := getattr(wanted, name)) is not None]
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
    """An id below which no job was written at this instant or later; those above may be older."""
    return connection.scalar(_FIRST_ID, {"instant": instant - DISORDER}) or 0


def first_id_after(connection: Connection, instant: datetime) -> int:
    """An id from which on no job was written before this instant."""
    return connection.scalar(_FIRST_ID, {"instant": instant + DISORDER}) or 0


def _has_status(status: str) -> ColumnElement[bool]:
    """Whether a job has this status; what is pending, being sent or dead is found by its work item."""
    if status not in IN_LANES:
        return _row.status == status
    lanes = list(map(int, IN_LANES[status]))
    # In the words of work_items_due: with others the planner cannot know that it may use the index.
    found = select(_item.id).where(_item.stage + text("''") == DELIVER, _item.lane >= text("0"), _item.lane.in_(lanes))
    return (_row.status == STORED_AS.get(status, status)) & _among(found)


def _tells(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the email tells of one of these notifications; a replay tells of its original's."""
    own = select(_note.email_job_id).where(condition, _note.email_job_id.is_not(None))
    replays = select(_others.c.id).where(_others.c.replay_of == any_(func.array(own.scalar_subquery())))
    return _among(own) | _among(replays)


def _among(ids: Select[int]) -> ColumnElement[bool]:
    """As an array: the planner then takes it to the primary key, and reads no table to the end for a page."""
    return _row.id == any_(func.array(ids.scalar_subquery()))
