"""
What operators may do to jobs by hand, to one or to many: retry, cancel, replay.

Decided: one statement for each, over a page of jobs in the order of their ids. Their work items are locked first, as a
    worker does that records, then the jobs and those that they replay: the statement that follows sees what came of
    whoever had them. One job is a page of one, so that nothing is written twice.
Decided: pages follow each other by id. What a page leaves as it was, such as a job that waits and is made due now,
    would else be found again by the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Text,
    any_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from notify.domain.claims import Lane
from notify.domain.outcomes import JobStatus
from notify.domain.stages import DELIVER
from notify.store.outbox.job_filter import JobFilter, matches
from notify.store.outbox.notifications import MAX_FAILURES, end_of_life, is_required, of_email
from notify.store.tables.emails import email_jobs, events, notifications, work_items

REVIVABLE = (JobStatus.PENDING, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
REPLAYABLE = (JobStatus.SENT, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
CANCELLED_BY_HAND = "by_hand"
REPLAY_NUMBER = r"\.r([0-9]+)@"
BEFORE_HOST = r"(\.r[0-9]+)?@"
COPIED = ("username", "to_email", "topic")

_row, _item = email_jobs.c, work_items.c
_original = func.coalesce(_row.replay_of, _row.id)
_is_urgent = is_required()
_REVIVED = (_row.id, _row.attempts, _row.lapses, _is_urgent.label("is_urgent"))
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
    """What one statement did: the ids of the jobs it changed or wrote. ``last_id`` None: nothing was left."""

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
    page = (
        select(_row.id)
        .where(matches(wanted), allowed(action), _row.id > after_id, _row.id <= last_id)
        .order_by(_row.id)
        .limit(limit)
    )
    ids = func.array(page.scalar_subquery())
    of_items = select(_item.id).where(_item.stage == DELIVER, _item.id == any_(ids))
    connection.execute(of_items.order_by(_item.id).with_for_update())
    originals = select(_others.c.id).where(
        _others.c.id.in_(select(_original).where(_row.id == any_(ids))),
    )
    connection.execute(originals.order_by(_others.c.id).with_for_update())
    chosen = page.with_for_update(of=email_jobs).cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    acted = _ACTS[action](chosen).cte("acted")
    last = select(func.max(chosen.c.id)).scalar_subquery()
    done = select(func.array_agg(acted.c.id)).scalar_subquery()
    query = select(last.label("last_id"), done.label("done"))
    query = query.add_cte(_forget(chosen) if action is Action.CANCEL else _due_now(acted))
    found = connection.execute(query).one()
    return Page(done=tuple(found.done or ()), last_id=found.last_id)


def act_on(connection: Connection, action: Action, job_id: int) -> int | None:
    """Do it to one job; the id of the job changed or written, None if its state does not allow it."""
    page = act(connection, action, JobFilter(ids=(job_id,)), last_id=job_id, limit=1)
    return page.done[0] if page.done else None


def _retry(chosen: CTE) -> ReturningUpdate[Any]:
    """
    Due now, with a fresh budget and life where they are spent; no history is reset.

    Of several replays of one job that have ended, the first comes back and the others stay.
    """
    earlier = exists().where(
        _others.c.replay_of == _row.replay_of, _others.c.id < _row.id, _others.c.id.in_(select(chosen.c.id))
    )
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen), or_(_row.status == JobStatus.PENDING, ~earlier))
        .values(
            status=JobStatus.PENDING,
            finished_at=None,
            outcome_reason=None,
            expires_at=func.greatest(_row.expires_at, end_of_life()),
        )
        .returning(*_REVIVED)
    )


def _due_now(acted: CTE) -> CTE:
    """These are due now; their budgets begin anew where they are spent."""
    fresh = upsert(work_items).from_select(
        ["stage", "id", "lane", "attempt", "lapses", "max_failures"],
        select(
            literal(DELIVER, Text),
            acted.c.id,
            case(
                (acted.c.lapses > 0, int(Lane.LAPSED)),
                (acted.c.is_urgent, int(Lane.URGENT)),
                else_=int(Lane.NORMAL),
            ),
            acted.c.attempts,
            acted.c.lapses,
            literal(MAX_FAILURES),
        ),
    )
    waits = case(
        (_item.lapses > 0, int(Lane.LAPSED)),
        (_item.lane < int(Lane.LAPSED), _item.lane),
        else_=fresh.excluded.lane,
    )
    budget = func.greatest(_item.max_failures, _item.failures + MAX_FAILURES)
    return fresh.on_conflict_do_update(
        index_elements=[_item.stage, _item.id],
        set_={"lane": waits, "due_at": func.now(), "max_failures": budget, "reason": None},
        where=_item.lane != int(Lane.LEASED),
    ).cte("due_now")


def _cancel(chosen: CTE) -> ReturningUpdate[Any]:
    its_item = select(_item.attempt).where(_item.stage == DELIVER, _item.id == _row.id)
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen))
        .values(
            status=JobStatus.CANCELLED,
            finished_at=func.now(),
            outcome_reason=CANCELLED_BY_HAND,
            attempts=func.greatest(_row.attempts, its_item.scalar_subquery()),
            lapses=func.greatest(_row.lapses, its_item.with_only_columns(_item.lapses).scalar_subquery()),
        )
        .returning(_row.id)
    )


def _forget(chosen: CTE) -> CTE:
    return delete(work_items).where(_item.stage == DELIVER, _item.id == _any_of(chosen)).cte("forgotten")


def _replay(chosen: CTE) -> ReturningInsert[Any]:
    """
    New jobs that tell the same as these, each numbered after the highest replay of the same job.

    Counting the replays would give a number again once upkeep has deleted one of them.
    """
    highest = (
        select(func.max(cast(func.substring(_others.c.message_id, REPLAY_NUMBER), Integer)))
        .where(_others.c.replay_of == _original)
        .scalar_subquery()
    )
    turn = func.row_number().over(partition_by=_original, order_by=_row.id)
    number = cast(func.coalesce(highest, 0) + turn, Text)
    fresh = func.regexp_replace(_row.message_id, BEFORE_HOST, literal(".r", Text) + number + literal("@", Text))
    source = select(*(_row[name] for name in COPIED), _original, fresh, end_of_life())
    return (
        upsert(email_jobs)
        .from_select(
            [*COPIED, "replay_of", "message_id", "expires_at"],
            source.where(_row.id == _any_of(chosen)).order_by(_row.id),
        )
        .on_conflict_do_nothing()
        .returning(*_REVIVED)
    )


def _any_of(chosen: CTE) -> ColumnElement[int]:
    return func.any(func.array(select(chosen.c.id).scalar_subquery()))


# Without its words there is nothing to write an email from.
_is_emptied = (
    select(events.c.id)
    .where(of_email(), events.c.id == notifications.c.event_id, events.c.emptied_at.is_not(None))
    .correlate(email_jobs)
    .exists()
)
_is_leased = exists().where(_lease.stage == DELIVER, _lease.id == _row.id, _lease.lane == int(Lane.LEASED))
_is_replayed = exists().where(_others.c.replay_of == _original, _others.c.status == JobStatus.PENDING)
_ALLOWED: Mapping[Action, ColumnElement[bool]] = MappingProxyType(
    {
        Action.RETRY: _row.status.in_(REVIVABLE)
        & ~_is_emptied
        & case((_row.status == JobStatus.PENDING, ~_is_leased), else_=_row.replay_of.is_(None) | ~_is_replayed),
        Action.CANCEL: _row.status == JobStatus.PENDING,
        Action.REPLAY: _row.status.in_(REPLAYABLE) & ~_is_emptied & ~_is_replayed,
    }
)
_ACTS: Mapping[Action, Callable[[CTE], ReturningUpdate[Any] | ReturningInsert[Any]]] = MappingProxyType(
    {Action.RETRY: _retry, Action.CANCEL: _cancel, Action.REPLAY: _replay}
)
