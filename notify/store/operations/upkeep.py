"""
What keeps the tables small: rows that are finished and old go, a small batch at a time, the oldest first.

Decided: a batch is a page of ids, which rise with time, of which those rows go that may. The next begins after its
    last row, so that what stays, such as a dead email among sent ones, is passed once a run; the first row that is
    too young whatever became of it is the last that is looked at. An index by the end would cost every row a second
    index entry, and its update a place in its own page.
Decided: nothing but the primary key decides what a page is. With a condition of which the planner knows little
    (is it told by an email?) beside the limit, it may read the table from end to end for each batch.
Decided: the turn is a lock of each batch's transaction: a run that meets another's batch leaves the rest to that one.
Rejected: a lock of the session. Behind a pooler, nobody knows whose session it stays with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    Update,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    update,
)

from notify.domain.outcomes import JobStatus
from notify.domain.retention import Kept
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.operations import stats
from notify.store.tables.emails import email_jobs, events, notifications, work_items
from notify.store.tables.operations import delivery_stats

EMPTY: dict[str, object] = {}
TURN = literal(0x7072756E65, BigInteger)
ENDLESS = literal(2**63 - 1, BigInteger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How many rows were looked at, how many of them went, and the id after which the next batch begins."""

    seen: int
    gone: int
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """How many rows are old enough to go."""

    jobs: int
    events: int
    stats: int


def take_turn(connection: Connection) -> bool:
    """The right to delete, until the transaction ends; False if somebody else has it."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(TURN))))


def prune_jobs(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """
    Delete those of the next *limit* jobs that ended long enough ago, with their notifications and attempts.

    A job stays as long as any replay of it, which tells of its notifications.
    """
    replays = email_jobs.alias("replays")
    unreplayed = ~exists().where(replays.c.replay_of == email_jobs.c.id)
    return _prune(connection, email_jobs, kept.emails, unreplayed, limit=limit, after=after, stage=DELIVER)


def prune_events(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """Delete those of the next *limit* events that ended long enough ago and of which no email tells any more."""
    childless = ~exists().where(notifications.c.event_id == events.c.id, notifications.c.email_job_id.is_not(None))
    return _prune(connection, events, kept.events, childless, limit=limit, after=after, stage=FAN_OUT)


def empty_events(connection: Connection, kept: Kept, *, limit: int, after: int = 0) -> Batch:
    """
    Delete the words of those of the next *limit* events that have had them for long enough; nothing if they may stay.

    Not while an email about the event waits. The event stays, and says since when it is empty.
    """
    if kept.bodies is None:
        return Batch(seen=0, gone=0, reached=after)
    full = events.c.emptied_at.is_(None) & (events.c.payload != EMPTY) & ~is_awaited()
    ended = events.c.finished_at < func.now() - literal(kept.bodies)
    act = update(events).values(payload=EMPTY, emptied_at=func.now())
    return _batch(connection, events, kept.bodies, full & ended, act, limit=limit, after=after)


def is_awaited() -> ColumnElement[bool]:
    """Whether an email that tells of the event waits, which needs its words."""
    replays = email_jobs.alias("replays").c
    told = (notifications.c.event_id == events.c.id) & (notifications.c.email_job_id == email_jobs.c.id)
    replayed = exists().where(replays.replay_of == email_jobs.c.id, replays.status == JobStatus.PENDING)
    return exists().where(told, (email_jobs.c.status == JobStatus.PENDING) | replayed)


def prune_stats(connection: Connection, kept: Kept) -> int:
    """Delete the counts of minutes long past, which the totals have; how many rows."""
    stats.fold(connection)
    return connection.execute(delete(delivery_stats).where(_past(kept))).rowcount


def old(connection: Connection, kept: Kept) -> Old:
    """What there is to delete: reads every such row once. Events are counted whose emails would all be gone."""
    replays = email_jobs.alias("replays")
    ripe = _old(email_jobs, kept.emails)
    needed = exists().where(replays.c.replay_of == email_jobs.c.id, ~_is(_old(replays, kept.emails)))
    told = (notifications.c.event_id == events.c.id) & (notifications.c.email_job_id == email_jobs.c.id)
    stays = exists().where(told, ~_is(ripe))
    count = func.count()
    return Old(
        jobs=_scalar(connection, select(count).select_from(email_jobs).where(ripe, ~needed)),
        events=_scalar(connection, select(count).select_from(events).where(_old(events, kept.events), ~stays)),
        stats=_scalar(connection, select(count).select_from(delivery_stats).where(_past(kept))),
    )


def _is(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """False, not unknown, for a row that has not ended."""
    return func.coalesce(condition, false())


def _past(kept: Kept) -> ColumnElement[bool]:
    return delivery_stats.c.minute < func.now() - literal(kept.dead)


def _old(table: Any, kept: Mapping[str, timedelta]) -> ColumnElement[bool]:  # noqa: ANN401 - a table or its alias
    shortest = min(kept.values())
    condition: ColumnElement[bool] = table.c.finished_at < func.now() - literal(shortest)
    for status, keep in kept.items():
        if keep > shortest:
            condition &= (table.c.status != status) | (table.c.finished_at < func.now() - literal(keep))
    return condition


def _prune(
    connection: Connection,
    table: Table,
    kept: Mapping[str, timedelta],
    condition: ColumnElement[bool],
    *,
    limit: int,
    after: int,
    stage: str | None = None,
) -> Batch:
    may_go = _old(table, kept) & condition
    return _batch(connection, table, min(kept.values()), may_go, delete(table), limit=limit, after=after, stage=stage)


def _batch(
    connection: Connection,
    table: Table,
    least: timedelta,
    condition: ColumnElement[bool],
    act: Delete | Update,
    *,
    limit: int,
    after: int,
    stage: str | None = None,
) -> Batch:
    """
    Do it to those of the next rows that were written at least so long ago for which the condition holds.

    Args:
        stage: Whose dead items of these rows go with them.
    """
    row = table.c
    page = select(row.id, (row.created_at < func.now() - literal(least)).label("is_old")).where(row.id > after)
    seen = _fenced(page.order_by(row.id).limit(limit), "seen")
    young = func.coalesce(func.min(seen.c.id).filter(~seen.c.is_old), ENDLESS)
    old = _fenced(select(seen.c.id).where(seen.c.id < select(young).scalar_subquery()), "old")
    may_go = select(row.id).where(row.id == _any_of(old), condition)
    chosen = _fenced(may_go.with_for_update(skip_locked=True, of=table), "chosen")
    gone = act.where(row.id == _any_of(chosen)).returning(row.id).cte("gone")
    query = select(
        select(func.count()).select_from(old).scalar_subquery().label("seen"),
        select(func.count()).select_from(gone).scalar_subquery().label("gone"),
        func.coalesce(select(func.max(old.c.id)).scalar_subquery(), after).label("reached"),
    )
    if stage is not None:
        forgotten = delete(work_items).where(work_items.c.stage == stage, work_items.c.id == _any_of(gone))
        query = query.add_cte(forgotten.cte("forgotten"))
    return Batch(**connection.execute(query).mappings().one())


def _fenced(query: Select[Any], name: str) -> CTE:
    return query.cte(name).prefix_with("MATERIALIZED", dialect="postgresql")


def _any_of(rows: CTE) -> ColumnElement[int]:
    return func.any(func.array(select(rows.c.id).scalar_subquery()))


def _scalar(connection: Connection, query: Select[int]) -> int:
    return connection.scalar(query) or 0
