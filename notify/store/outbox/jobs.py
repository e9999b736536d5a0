"""
Where is my email: what people and operators read of the outbox, and what they may do by hand.

The API answers with these views: a field's name, type and ``description`` stand in OpenAPI as they stand here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select, true

from notify.domain.claims import Lane
from notify.domain.outcomes import EventStatus, JobStatus
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.outbox import by_hand
from notify.store.outbox.by_hand import Action, of_email
from notify.store.outbox.job_filter import JobFilter, first_id_after, first_id_since, matches
from notify.store.outbox.notifications import MAX_FAILURES, SKIPPED
from notify.store.tables.emails import email_attempts, email_jobs, events, notifications, work_items

# Jobs that a question without an index reads at most: some 50 ms.
SPAN = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One email as it stands."""

    id: int
    username: str
    to_email: str
    topic: str | None = field(metadata={"description": "Null: all that was deferred until one instant."})
    notification_count: int = field(metadata={"description": "Of how many events the email tells."})
    event_key: str = field(metadata={"description": "Of the first of them."})
    event_type: str = field(metadata={"description": "The type under which the person is told of the first."})
    reason: str = field(metadata={"description": "Why the first concerned the person."})
    status: str
    due_at: datetime | None = field(metadata={"description": "Not before this instant; null: finished."})
    attempt: int = field(metadata={"description": "How many attempts were begun."})
    failures: int = field(metadata={"description": "Attempts that ended in: no, later; 0 once ended, unless dead."})
    max_failures: int
    lapses: int = field(metadata={"description": "Workers that vanished with it."})
    expires_at: datetime
    message_id: str
    outcome_reason: str | None
    last_code: int | None
    last_enhanced_code: str | None
    last_error: str | None
    relay_reply: str | None
    replay_of: int | None = field(metadata={"description": "The job whose email this one repeats; null: none."})
    deferred_by: str | None = field(metadata={"description": "What it waits or has waited for; null: nothing."})
    relay: str | None = field(metadata={"description": "Which relay took the email; null: it is not sent."})
    sent_in_ms: int | None = field(
        metadata={"description": "Milliseconds that the attempt took which sent it; null: it is not sent."}
    )
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """What became of an event for one person: told by a job, whose status it has, or skipped."""

    id: int
    event_id: int
    event_key: str
    event_type: str
    topic: str
    username: str
    reason: str
    status: str
    why: str | None
    job_id: int | None = field(metadata={"description": "The job whose email tells of it; null: none does."})
    to_email: str | None
    message_id: str | None
    due_at: datetime | None = field(metadata={"description": "Not before this instant; null: finished."})
    deferred_by: str | None = field(metadata={"description": "What it waits or has waited for; null: nothing."})
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
    verdict: str
    relay: str | None
    took_ms: int | None = field(metadata={"description": "Milliseconds; null: no email was written."})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One event as it stands."""

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
    emptied_at: datetime | None = field(
        metadata={"description": "When the words it carried were deleted; null: it has them."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWithPeople(EventView):
    """One event as it stands, and what became of it for each person it concerned."""

    people: Sequence[NotificationView]


_row, _item, _note = email_jobs.c, work_items.c, notifications.c
_is_leased = _item.lane == int(Lane.LEASED)
_status = case((_is_leased, JobStatus.SENDING), else_=_row.status)
_due_at = case((_row.status == JobStatus.PENDING, _item.due_at))
_of_item = (_item.stage == DELIVER) & (_item.id == _row.id)
_first = (
    select(events.c.key, _note.event_type, _note.reason, func.count().over().label("count"))
    .join_from(notifications, events, events.c.id == _note.event_id)
    .where(of_email())
    .order_by(_note.id)
    .limit(1)
    .correlate(email_jobs)
    .lateral("first")
)
_OF_JOB: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        **_row,
        "notification_count": _first.c["count"].label("notification_count"),
        "event_key": _first.c.key.label("event_key"),
        "event_type": _first.c.event_type,
        "reason": _first.c.reason,
        "status": _status.label("status"),
        "due_at": _due_at.label("due_at"),
        "attempt": func.greatest(_item.attempt, _row.attempts).label("attempt"),
        "failures": func.coalesce(_item.failures, 0).label("failures"),
        "max_failures": func.coalesce(_item.max_failures, MAX_FAILURES).label("max_failures"),
        "lapses": func.greatest(_item.lapses, _row.lapses).label("lapses"),
    }
)
_JOBS = (
    select(*(_OF_JOB[name] for name in JobView.__slots__))
    .select_from(email_jobs)
    .join(_first, true())
    .outerjoin(work_items, _of_item)
)
_is_skipped = _note.decision == SKIPPED
_OF_NOTIFICATION: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        **_row,
        **_note,
        "event_key": events.c.key.label("event_key"),
        "topic": events.c.topic,
        "status": case((_is_skipped, JobStatus.SKIPPED), else_=_status).label("status"),
        "why": case((_is_skipped, _note.why), else_=_row.outcome_reason).label("why"),
        "job_id": _note.email_job_id.label("job_id"),
        "due_at": _due_at.label("due_at"),
        "created_at": func.coalesce(_row.created_at, events.c.finished_at).label("created_at"),
        "finished_at": case((_is_skipped, events.c.finished_at), else_=_row.finished_at).label("finished_at"),
    }
)
_NOTIFICATIONS = (
    select(*(_OF_NOTIFICATION[name] for name in NotificationView.__slots__))
    .select_from(notifications)
    .join(events, events.c.id == _note.event_id)
    .outerjoin(email_jobs, _row.id == _note.email_job_id)
    .outerjoin(work_items, _of_item)
)
_ATTEMPT: Sequence[ColumnElement[Any]] = tuple(email_attempts.c[name] for name in AttemptView.__slots__)
_OF_EVENT: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        **events.c,
        "status": case((_item.lane == int(Lane.LEASED), EventStatus.WORKING), else_=events.c.status).label("status"),
        "failures": func.coalesce(_item.failures, 0).label("failures"),
        "last_error": _item.reason.label("last_error"),
    }
)
_EVENT = select(*(_OF_EVENT[name] for name in EventView.__slots__)).outerjoin(
    work_items, (_item.stage == FAN_OUT) & (_item.id == events.c.id)
)


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first; the next page begins below ``below``, None: this was the last. A page may be empty."""

    jobs: Sequence[JobView]
    below: int | None


def page(connection: Connection, wanted: JobFilter, *, below: int | None = None, limit: int) -> Page:
    """
    The newest *limit* of these jobs with an id below *below*.

    Where no index finds them, a page is of those among the next ``SPAN`` jobs, however few.
    """
    if wanted.is_indexed:
        found = matching(connection, wanted, before_id=below, limit=limit + 1)
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)
    bottom, top = _bounds(connection, wanted)
    top = top if below is None else min(top, below)
    floor = max(bottom, top - SPAN)
    found = matching(connection, wanted, before_id=top, from_id=floor, limit=limit + 1)
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].id)
    return Page(found, floor if floor > bottom else None)


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
    The newest of these jobs, newest first; the next page begins before the last id.

    Args:
        allowing: Only those whose state allows this; None: all.
    """
    query = _JOBS.where(matches(wanted)).order_by(email_jobs.c.id.desc()).limit(limit)
    if allowing is not None:
        query = query.where(by_hand.allowed(allowing))
    if before_id is not None:
        query = query.where(email_jobs.c.id < before_id)
    if from_id is not None:
        query = query.where(email_jobs.c.id >= from_id)
    return _views(connection, query)


def show(connection: Connection, job_id: int) -> JobView | None:
    """One job; None if there is no such row."""
    found = _views(connection, _JOBS.where(email_jobs.c.id == job_id))
    return found[0] if found else None


def attempts(connection: Connection, job_id: int) -> list[AttemptView]:
    """Every attempt of one job that did not end in sent, oldest first."""
    query = select(*_ATTEMPT).where(email_attempts.c.job_id == job_id).order_by(email_attempts.c.id)
    return [AttemptView(**row) for row in connection.execute(query).mappings()]


def of_event(connection: Connection, key: str) -> EventWithPeople | None:
    """One event with everyone it concerned; None if the key is unknown."""
    row = connection.execute(_EVENT.where(events.c.key == key)).mappings().one_or_none()
    if row is None:
        return None
    people = _told(connection, _NOTIFICATIONS.where(_note.event_id == row["id"]).order_by(_note.id))
    return EventWithPeople(**{**row, "status": EventStatus(row["status"])}, people=people)


def of_job(connection: Connection, job: JobView) -> list[NotificationView]:
    """What the email of this job tells of, in the order in which it was written."""
    own = _note.email_job_id == (job.replay_of or job.id)
    return _told(connection, _NOTIFICATIONS.where(own).order_by(_note.id))


def history(
    connection: Connection, username: str, *, topic: str | None = None, below: int | None = None, limit: int
) -> tuple[Sequence[NotificationView], int | None]:
    """The newest of a person's notifications below that id, and below which the next page begins; None: nowhere."""
    query = _NOTIFICATIONS.where(_note.username == username).order_by(_note.id.desc()).limit(limit + 1)
    if topic is not None:
        query = query.where(events.c.topic == topic)
    if below is not None:
        query = query.where(_note.id < below)
    found = _told(connection, query)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def _bounds(connection: Connection, wanted: JobFilter) -> tuple[int, int]:
    """Ids between which all of these letters are: from the first on, below the second."""
    lowest, highest = connection.execute(select(func.min(email_jobs.c.id), func.max(email_jobs.c.id))).one()
    bottom = (lowest or 0) if wanted.created_from is None else first_id_since(connection, wanted.created_from)
    top = (highest or 0) + 1 if wanted.created_before is None else first_id_after(connection, wanted.created_before)
    return bottom, top


def _views(connection: Connection, query: Select[Any]) -> list[JobView]:
    return [JobView(**row) for row in connection.execute(query).mappings()]


def _told(connection: Connection, query: Select[Any]) -> list[NotificationView]:
    return [NotificationView(**row) for row in connection.execute(query).mappings()]
