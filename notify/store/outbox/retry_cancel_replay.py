"""
Retry, cancel and replay jobs, one or many.

Decided: each action is one statement over a page of jobs; a single job is a page of one. Work items are locked first,
    as workers do when they record, then replayed jobs, then the jobs, whose status is then checked again.
Decided: pages continue by id, because a job may still match after the action, such as a pending one that is made due.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy import BigInteger, ColumnElement, Connection, any_, case, exists, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from notify.domain.claims import Lane
from notify.domain.outcomes import JobStatus
from notify.domain.stages import DELIVER
from notify.store.outbox.job_filter import JobFilter, matches
from notify.store.outbox.notifications import DEFAULT_EXPIRY, MAX_FAILURES
from notify.store.tables.emails import email_jobs, events, notifications, work_items

REVIVABLE = (JobStatus.PENDING, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
REPLAYABLE = (JobStatus.SENT, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)

_row, _note = email_jobs.c, notifications.c
_others = email_jobs.alias("others")
# An alias: callers may have joined the table themselves.
_lease = work_items.alias("lease").c


class Action(StrEnum):
    """What an operator may do to a job."""

    RETRY = "retry"
    CANCEL = "cancel"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCount:
    """
    How many jobs match, and how many of them allow the action.

    ``last_id`` is the highest id of the latter, so that later jobs are excluded.
    """

    matched: int
    allowed: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPage:
    """The ids of the jobs that were changed or created. ``last_id`` None: there are no more."""

    done: tuple[int, ...]
    last_id: int | None


def allowed(action: Action) -> ColumnElement[bool]:
    """SQL: whether a job's status allows this."""
    return _ALLOWED[action]


def count(connection: Connection, action: Action, wanted: JobFilter) -> JobCount:
    """How many jobs match, and how many of them allow the action now."""
    may = allowed(action)
    query = select(
        func.count().label("matched"),
        func.count().filter(may).label("allowed"),
        func.coalesce(func.max(_row.id).filter(may), 0).label("last_id"),
    )
    return JobCount(**connection.execute(query.where(matches(wanted))).mappings().one())


def act(
    connection: Connection, action: Action, wanted: JobFilter, *, after_id: int = 0, last_id: int, limit: int
) -> ActionPage:
    """
    Apply the action to the first *limit* matching jobs with ids above *after_id* and up to *last_id*.

    Raises:
        OperationalError: A deadlock with workers; repeat the call.
    """
    page = select(_row.id).where(matches(wanted), allowed(action)).order_by(_row.id)
    ids = connection.scalars(page.where(_row.id > after_id, _row.id <= last_id).limit(limit)).all()
    if not ids:
        return ActionPage(done=(), last_id=None)
    connection.exec_driver_sql(_LOCK_ITEMS, {"ids": ids})
    connection.exec_driver_sql(_LOCK_ORIGINALS, {"ids": ids})
    still = page.where(_row.id == any_(literal(ids, ARRAY(BigInteger)))).with_for_update(of=email_jobs)
    done = connection.exec_driver_sql(_ACTS[action], {"ids": connection.scalars(still).all()})
    return ActionPage(done=tuple(done.scalars()), last_id=ids[-1])


def act_on(connection: Connection, action: Action, job_id: int) -> int | None:
    """
    Apply the action to one job; the id of the job changed or created, None: its status does not allow it.

    An email that is cancelled while being sent may still arrive; then it is recorded as sent.
    """
    page = act(connection, action, JobFilter(ids=(job_id,)), last_id=job_id, limit=1)
    return page.done[0] if page.done else None


def of_email() -> ColumnElement[bool]:
    """SQL: whether a notification belongs to the job in ``email_jobs``, or to the job that it replays."""
    return _note.email_job_id == func.coalesce(_row.replay_of, _row.id)


_LOCK_ITEMS = f"""
    SELECT id FROM notify.work_items WHERE stage = '{DELIVER}' AND id = ANY (%(ids)s::bigint[])
    ORDER BY id FOR UPDATE"""
_LOCK_ORIGINALS = """
    SELECT id FROM notify.email_jobs WHERE id = ANY (ARRAY(
        SELECT coalesce(replay_of, id) FROM notify.email_jobs WHERE id = ANY (%(ids)s::bigint[])
    )) ORDER BY id FOR UPDATE"""
_TYPES = """
            FROM notify.notifications AS note
            JOIN notify.notification_event_types AS kind ON kind.code = note.event_type
            WHERE note.email_job_id = coalesce(job.replay_of, job.id)"""
_EXPIRY = f"now() + coalesce((SELECT max(kind.expires_after) {_TYPES}), {DEFAULT_EXPIRY})"
_ACTED = f"job.id, job.attempts, job.lapses, EXISTS (SELECT {_TYPES} AND kind.system_required) AS is_urgent"
# An existing item gets a fresh retry budget.
_DUE_NOW = f"""
    INSERT INTO notify.work_items AS item (stage, id, lane, attempt, lapses, max_failures)
    SELECT '{DELIVER}', id, CASE WHEN lapses > 0 THEN {Lane.LAPSED:d} WHEN is_urgent THEN {Lane.URGENT:d}
        ELSE {Lane.NORMAL:d} END, attempts, lapses, {MAX_FAILURES} FROM acted
    ON CONFLICT (stage, id) DO UPDATE SET due_at = now(), reason = NULL,
        lane = CASE WHEN item.lapses > 0 THEN {Lane.LAPSED:d} WHEN item.lane < {Lane.LAPSED:d} THEN item.lane
            ELSE excluded.lane END,
        max_failures = greatest(item.max_failures, item.failures + {MAX_FAILURES})
    WHERE item.lane <> {Lane.LEASED:d}"""
# History stays. Of several ended replays of one job, only the first is retried.
_RETRY = f"""
    WITH acted AS (
        UPDATE notify.email_jobs AS job
        SET status = 'pending', finished_at = NULL, outcome_reason = NULL,
            expires_at = greatest(job.expires_at, {_EXPIRY})
        WHERE job.id = ANY (%(ids)s::bigint[]) AND (job.status = 'pending' OR NOT EXISTS (
            SELECT FROM notify.email_jobs AS earlier WHERE earlier.replay_of = job.replay_of AND earlier.id < job.id
                AND earlier.id = ANY (%(ids)s::bigint[])
        ))
        RETURNING {_ACTED}
    ), due_now AS ({_DUE_NOW})
    SELECT id FROM acted"""
_CANCEL = f"""
    WITH gone AS (
        DELETE FROM notify.work_items WHERE stage = '{DELIVER}' AND id = ANY (%(ids)s::bigint[])
        RETURNING id, attempt, lapses
    )
    UPDATE notify.email_jobs AS job
    SET status = 'cancelled', finished_at = now(), outcome_reason = 'by_hand',
        attempts = greatest(job.attempts, gone.attempt), lapses = greatest(job.lapses, gone.lapses)
    FROM unnest(%(ids)s::bigint[]) AS chosen(id) LEFT JOIN gone ON gone.id = chosen.id WHERE job.id = chosen.id
    RETURNING job.id"""
# Numbered after the job's highest replay, not by their count: retention may have deleted one.
_REPLAY = f"""
    WITH acted AS (
        INSERT INTO notify.email_jobs AS job (username, to_email, topic, replay_of, message_id, expires_at)
        SELECT username, to_email, topic, original, regexp_replace(message_id, '(\\.r[0-9]+)?@', '.r' || coalesce((
            SELECT max(substring(other.message_id FROM '\\.r([0-9]+)@')::int) FROM notify.email_jobs AS other
            WHERE other.replay_of = original
        ), 0) + row_number() OVER (PARTITION BY original ORDER BY id) || '@'), {_EXPIRY}
        FROM (
            SELECT *, coalesce(replay_of, id) AS original FROM notify.email_jobs WHERE id = ANY (%(ids)s::bigint[])
        ) AS job ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING {_ACTED}
    ), due_now AS ({_DUE_NOW})
    SELECT id FROM acted"""
_ACTS: Mapping[Action, str] = MappingProxyType({Action.RETRY: _RETRY, Action.CANCEL: _CANCEL, Action.REPLAY: _REPLAY})

# Without its payload no email can be written.
_is_emptied = (
    select(events.c.id)
    .where(of_email(), events.c.id == _note.event_id, events.c.emptied_at.is_not(None))
    .correlate(email_jobs)
    .exists()
)
_is_leased = exists().where(_lease.stage == DELIVER, _lease.id == _row.id, _lease.lane == int(Lane.LEASED))
_is_replayed = exists().where(
    _others.c.replay_of == func.coalesce(_row.replay_of, _row.id), _others.c.status == JobStatus.PENDING
)
_ALLOWED: Mapping[Action, ColumnElement[bool]] = MappingProxyType(
    {
        Action.RETRY: _row.status.in_(REVIVABLE)
        & ~_is_emptied
        & case((_row.status == JobStatus.PENDING, ~_is_leased), else_=_row.replay_of.is_(None) | ~_is_replayed),
        Action.CANCEL: _row.status == JobStatus.PENDING,
        Action.REPLAY: _row.status.in_(REPLAYABLE) & ~_is_emptied & ~_is_replayed,
    }
)
