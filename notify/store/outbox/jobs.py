"""
Views of jobs, notifications, attempts and events, for people and operators.

The API returns these views: OpenAPI shows each field's name, type and ``description``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, select, true

from notify.domain.claims import Lane
from notify.domain.outcomes import EventStatus, JobStatus
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.outbox import retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter, first_id_after, first_id_since, matches
from notify.store.outbox.notifications import MAX_FAILURES
from notify.store.outbox.retry_cancel_replay import Action, of_email
from notify.store.tables.emails import email_jobs, events, notifications, work_items

# A page without an index reads at most this many jobs: about 50 ms.
MOST_SCANNED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One email job."""

    id: int
    username: str
    to_email: str
    topic: str | None = field(
        metadata={"description": "Null: a digest, or everything that was deferred until one instant."}
    )
    notification_count: int = field(metadata={"description": "How many notifications are in the email."})
    event_key: str = field(metadata={"description": "Key of the first event."})
    event_type: str = field(metadata={"description": "Event type of the first notification."})
    reason: str = field(metadata={"description": "Why the first event concerns the person."})
    status: str
    due_at: datetime | None = field(
        metadata={"description": "When a pending email leaves, at the earliest. Null: not pending."}
    )
    attempt: int = field(metadata={"description": "How many attempts have begun."})
    failures: int = field(metadata={"description": "Attempts that ended in `retry`. 0 once finished, unless dead."})
    max_failures: int
    lapses: int = field(metadata={"description": "How often its lease ran out."})
    expires_at: datetime
    message_id: str
    outcome_reason: str | None
    last_code: int | None
    last_enhanced_code: str | None
    last_error: str | None
    relay_reply: str | None
    replay_of: int | None = field(metadata={"description": "The job that this one replays. Null: none."})
    deferred_by: str | None = field(
        metadata={"description": "What it waits or waited for, such as `daily`. Null: nothing."}
    )
    relay: str | None = field(metadata={"description": "The relay that accepted the email. Null: not sent."})
    sent_in_ms: int | None = field(
        metadata={"description": "Milliseconds that the successful attempt took. Null: not sent."}
    )
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """One event and one person: told, with the job's status, or skipped."""

    id: int
    event_id: int
    event_key: str
    event_type: str
    topic: str
    username: str
    reason: str
    status: str
    why: str | None
    job_id: int | None = field(metadata={"description": "The email job. Null: skipped."})
    to_email: str | None
    message_id: str | None
    due_at: datetime | None = field(
        metadata={"description": "When a pending email leaves, at the earliest. Null: not pending."}
    )
    deferred_by: str | None = field(
        metadata={"description": "What it waits or waited for, such as `daily`. Null: nothing."}
    )
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt that did not end in sent."""

    attempt: int
    at: datetime
    phase: str | None
    code: int | None
    enhanced_code: str | None
    text: str | None
    outcome: str
    relay: str | None
    took_ms: int | None = field(metadata={"description": "Milliseconds. Null: no email was written."})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One event."""

    id: int
    key: str
    type: str
    topic: str
    actor: str
    occurred_at: datetime
    status: EventStatus
    failures: int
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None
    emptied_at: datetime | None = field(metadata={"description": "When its text was deleted. Null: it was not."})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWithPeople(EventView):
    """One event, with everyone it concerns."""

    people: Sequence[NotificationView]


_row, _item, _note = email_jobs.c, work_items.c, notifications.c
_first = (
    select(events.c.key, _note.event_type, _note.reason, func.count().over().label("count"))
    .join_from(notifications, events, events.c.id == _note.event_id)
    .where(of_email())
    .order_by(_note.id)
    .limit(1)
    .correlate(email_jobs)
    .lateral("first")
)
_OF_JOB = {
    **_row,
    "notification_count": _first.c["count"],
    "event_key": _first.c.key,
    "event_type": _first.c.event_type,
    "reason": _first.c.reason,
    "status": case((_item.lane == int(Lane.LEASED), JobStatus.SENDING), else_=_row.status),
    "due_at": case((_row.status == JobStatus.PENDING, _item.due_at)),
    "attempt": func.greatest(_item.attempt, _row.attempts),
    "failures": func.coalesce(_item.failures, 0),
    "max_failures": func.coalesce(_item.max_failures, MAX_FAILURES),
    "lapses": func.greatest(_item.lapses, _row.lapses),
}
_JOBS = (
    select(*(_OF_JOB[name].label(name) for name in JobView.__slots__))
    .select_from(email_jobs)
    .join(_first, true())
    .outerjoin(work_items, (_item.stage == DELIVER) & (_item.id == _row.id))
)
_NOTIFICATIONS = f"""
    SELECT note.id, note.event_id, event.key AS event_key, note.event_type, event.topic, note.username, note.reason,
        CASE WHEN job.id IS NULL THEN note.decision WHEN item.lane = {Lane.LEASED:d} THEN '{JobStatus.SENDING}'
            ELSE job.status END AS status,
        CASE WHEN job.id IS NULL THEN note.why ELSE job.outcome_reason END AS why, job.id AS job_id, job.to_email,
        job.message_id, CASE WHEN job.status = 'pending' THEN item.due_at END AS due_at, job.deferred_by,
        coalesce(job.created_at, event.finished_at) AS created_at,
        CASE WHEN job.id IS NULL THEN event.finished_at ELSE job.finished_at END AS finished_at
    FROM notify.notifications AS note
    JOIN notify.events AS event ON event.id = note.event_id
    LEFT JOIN notify.email_jobs AS job ON job.id = note.email_job_id
    LEFT JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id"""
_OF_EVENT = f"{_NOTIFICATIONS} WHERE note.event_id = %(event_id)s ORDER BY note.id"
_OF_JOB_ID = f"{_NOTIFICATIONS} WHERE note.email_job_id = %(job_id)s ORDER BY note.id"
_ATTEMPTS = f"""
    SELECT {", ".join(AttemptView.__slots__)} FROM notify.email_attempts WHERE job_id = %(job_id)s ORDER BY id"""
_EVENT = f"""
    SELECT event.id, key, type, topic, actor, occurred_at, created_at, finished_at, emptied_at,
        CASE WHEN item.lane = {Lane.LEASED:d} THEN '{EventStatus.WORKING}' ELSE event.status END AS status,
        coalesce(item.failures, 0) AS failures, item.reason AS last_error
    FROM notify.events AS event LEFT JOIN notify.work_items AS item ON item.stage = '{FAN_OUT}' AND item.id = event.id
    WHERE event.key = %(key)s"""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first, perhaps none. The next page has ids below ``below``; None: this is the last page."""

    jobs: Sequence[JobView]
    below: int | None


def page(connection: Connection, wanted: JobFilter, *, below: int | None = None, limit: int) -> JobPage:
    """
    The newest *limit* of these jobs with an id below *below*.

    Without an index, a page covers the next ``MOST_SCANNED`` jobs, however few of them match.
    """
    if wanted.is_indexed:
        found = matching(connection, wanted, before_id=below, limit=limit + 1)
        return JobPage(found[:limit], found[limit - 1].id if len(found) > limit else None)
    bottom, top = _bounds(connection, wanted)
    top = top if below is None else min(top, below)
    floor = max(bottom, top - MOST_SCANNED)
    found = matching(connection, wanted, before_id=top, from_id=floor, limit=limit + 1)
    if len(found) > limit:
        return JobPage(found[:limit], found[limit - 1].id)
    return JobPage(found, floor if floor > bottom else None)


def matching(
    connection: Connection,
    wanted: JobFilter,
    *,
    allowing: Action | None = None,
    before_id: int | None = None,
    from_id: int | None = None,
    limit: int,
) -> list[JobView]:
    """
    The newest of these jobs, newest first.

    Args:
        allowing: Only jobs whose status allows this action; None: all.
    """
    query = _JOBS.where(matches(wanted)).order_by(email_jobs.c.id.desc()).limit(limit)
    if allowing is not None:
        query = query.where(retry_cancel_replay.allowed(allowing))
    if before_id is not None:
        query = query.where(email_jobs.c.id < before_id)
    if from_id is not None:
        query = query.where(email_jobs.c.id >= from_id)
    return _views(connection, query)


def show(connection: Connection, job_id: int) -> JobView | None:
    """One job; None: there is none."""
    found = _views(connection, _JOBS.where(email_jobs.c.id == job_id))
    return found[0] if found else None


def attempts(connection: Connection, job_id: int) -> list[AttemptView]:
    """Every attempt of one job that did not end in sent, oldest first."""
    return [AttemptView(**row) for row in connection.exec_driver_sql(_ATTEMPTS, {"job_id": job_id}).mappings()]


def of_event(connection: Connection, key: str) -> EventWithPeople | None:
    """One event with everyone it concerns; None: unknown key."""
    row = connection.exec_driver_sql(_EVENT, {"key": key}).mappings().one_or_none()
    if row is None:
        return None
    people = _notifications(connection, _OF_EVENT, event_id=row["id"])
    return EventWithPeople(**{**row, "status": EventStatus(row["status"])}, people=people)


def of_job(connection: Connection, job: JobView) -> list[NotificationView]:
    """The notifications in this job's email, in the order of their ids."""
    return _notifications(connection, _OF_JOB_ID, job_id=job.replay_of or job.id)


def history(
    connection: Connection, username: str, *, topic: str | None = None, below: int | None = None, limit: int
) -> tuple[Sequence[NotificationView], int | None]:
    """A person's notifications, newest first, and the id below which the next page begins; None: there are no more."""
    about = "" if topic is None else "AND event.topic = %(topic)s"
    older = "" if below is None else "AND note.id < %(below)s"
    statement = (
        f"{_NOTIFICATIONS} WHERE note.username = %(username)s {about} {older} ORDER BY note.id DESC LIMIT %(most)s"
    )
    found = _notifications(connection, statement, username=username, topic=topic, below=below, most=limit + 1)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def _bounds(connection: Connection, wanted: JobFilter) -> tuple[int, int]:
    """A range of ids, the end exclusive, that contains all of these jobs."""
    lowest, highest = connection.execute(select(func.min(email_jobs.c.id), func.max(email_jobs.c.id))).one()
    bottom = (lowest or 0) if wanted.created_from is None else first_id_since(connection, wanted.created_from)
    top = (highest or 0) + 1 if wanted.created_before is None else first_id_after(connection, wanted.created_before)
    return bottom, top


def _views(connection: Connection, query: Select[Any]) -> list[JobView]:
    return [JobView(**row) for row in connection.execute(query).mappings()]


def _notifications(connection: Connection, statement: str, **asked: object) -> list[NotificationView]:
    return [NotificationView(**row) for row in connection.exec_driver_sql(statement, asked).mappings()]
