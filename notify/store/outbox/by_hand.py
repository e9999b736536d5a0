"""
What operators may do to jobs by hand, to one or to many: retry, cancel, replay.

Decided: one statement for each, over a page of jobs. Their work items are locked first, as a worker does that records,
    then the jobs that they replay, then the jobs: what they allow then is looked at again. One job is a page of one, so
    that nothing is written twice.
Decided: pages follow each other by id. What a page leaves as it was, such as a job that waits and is made due now,
    would else be found again by the next.
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
from notify.store.outbox.notifications import LIFE, MAX_FAILURES
from notify.store.tables.emails import email_jobs, events, notifications, work_items

REVIVABLE = (JobStatus.PENDING, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
REPLAYABLE = (JobStatus.SENT, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)

_row, _note = email_jobs.c, notifications.c
_others = email_jobs.alias("others")
# Its own name: whoever asks may have joined the table for itself.
_lease = work_items.alias("lease").c


class Action(StrEnum):
    """What may be done by hand."""

    RETRY = "retry"
    CANCEL = "cancel"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """
    How many jobs are meant, and to how many of them the action can be done.

    ``last_id`` is the highest id of those; a job that is written later is not meant.
    """

    matched: int
    allowed: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The ids of the jobs that were changed or written. ``last_id`` None: nothing was left."""

    done: tuple[int, ...]
    last_id: int | None


def allowed(action: Action) -> ColumnElement[bool]:
    """Whether the state of a job allows this."""
    return _ALLOWED[action]


def tally(connection: Connection, action: Action, wanted: JobFilter) -> Tally:
    """How many jobs are meant, and to how many of them this can be done now."""
    may = allowed(action)
    query = select(
        func.count().label("matched"),
        func.count().filter(may).label("allowed"),
        func.coalesce(func.max(_row.id).filter(may), 0).label("last_id"),
    )
    return Tally(**connection.execute(query.where(matches(wanted))).mappings().one())


def act(
    connection: Connection, action: Action, wanted: JobFilter, *, after_id: int = 0, last_id: int, limit: int
) -> Page:
    """
    Do it to the first *limit* of these jobs with an id above *after_id* and up to *last_id*.

    Raises:
        OperationalError: Workers recorded some of them in another order (a deadlock); do it again.
    """
    page = select(_row.id).where(matches(wanted), allowed(action)).order_by(_row.id)
    ids = connection.scalars(page.where(_row.id > after_id, _row.id <= last_id).limit(limit)).all()
    if not ids:
        return Page(done=(), last_id=None)
    connection.exec_driver_sql(_LOCK_ITEMS, {"ids": ids})
    connection.exec_driver_sql(_LOCK_ORIGINALS, {"ids": ids})
    still = page.where(_row.id == any_(literal(ids, ARRAY(BigInteger)))).with_for_update(of=email_jobs)
    done = connection.exec_driver_sql(_ACTS[action], {"ids": connection.scalars(still).all()})
    return Page(done=tuple(done.scalars()), last_id=ids[-1])


def act_on(connection: Connection, action: Action, job_id: int) -> int | None:
    """
    Do it to one job; the id of the job changed or written, None if its state does not allow it.

    An email that is cancelled on its way may still arrive; then it is recorded as sent.
    """
    page = act(connection, action, JobFilter(ids=(job_id,)), last_id=job_id, limit=1)
    return page.done[0] if page.done else None


def of_email() -> ColumnElement[bool]:
    """Whether a notification is told by the email that a statement on ``email_jobs`` is about, perhaps a replay."""
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
# After that an email that goes now is not worth sending.
_END_OF_LIFE = f"now() + coalesce((SELECT max(kind.expires_after) {_TYPES}), {LIFE})"
_ACTED = f"job.id, job.attempts, job.lapses, EXISTS (SELECT {_TYPES} AND kind.system_required) AS is_urgent"
# Where there is an item, its budget begins anew where it is spent.
_DUE_NOW = f"""
    INSERT INTO notify.work_items AS item (stage, id, lane, attempt, lapses, max_failures)
    SELECT '{DELIVER}', id, CASE WHEN lapses > 0 THEN {Lane.LAPSED:d} WHEN is_urgent THEN {Lane.URGENT:d}
        ELSE {Lane.NORMAL:d} END, attempts, lapses, {MAX_FAILURES} FROM acted
    ON CONFLICT (stage, id) DO UPDATE SET due_at = now(), reason = NULL,
        lane = CASE WHEN item.lapses > 0 THEN {Lane.LAPSED:d} WHEN item.lane < {Lane.LAPSED:d} THEN item.lane
            ELSE excluded.lane END,
        max_failures = greatest(item.max_failures, item.failures + {MAX_FAILURES})
    WHERE item.lane <> {Lane.LEASED:d}"""
# No history is reset. Of several replays of one job that have ended, the first comes back and the others stay.
_RETRY = f"""
    WITH acted AS (
        UPDATE notify.email_jobs AS job
        SET status = 'pending', finished_at = NULL, outcome_reason = NULL,
            expires_at = greatest(job.expires_at, {_END_OF_LIFE})
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
# New jobs that tell the same as these, each numbered after the highest replay of the same job. Counting the replays
# would give a number again once upkeep has deleted one of them.
_REPLAY = f"""
    WITH acted AS (
        INSERT INTO notify.email_jobs AS job (username, to_email, topic, replay_of, message_id, expires_at)
        SELECT username, to_email, topic, original, regexp_replace(message_id, '(\\.r[0-9]+)?@', '.r' || coalesce((
            SELECT max(substring(other.message_id FROM '\\.r([0-9]+)@')::int) FROM notify.email_jobs AS other
            WHERE other.replay_of = original
        ), 0) + row_number() OVER (PARTITION BY original ORDER BY id) || '@'), {_END_OF_LIFE}
        FROM (
            SELECT *, coalesce(replay_of, id) AS original FROM notify.email_jobs WHERE id = ANY (%(ids)s::bigint[])
        ) AS job ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING {_ACTED}
    ), due_now AS ({_DUE_NOW})
    SELECT id FROM acted"""
_ACTS: Mapping[Action, str] = MappingProxyType({Action.RETRY: _RETRY, Action.CANCEL: _CANCEL, Action.REPLAY: _REPLAY})

# Without its words there is nothing to write an email from.
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
