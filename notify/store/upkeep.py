"""
What keeps the tables small: rows that are finished and old go, a small batch at a time, the oldest first.

Decided: a batch is a page of what ended first, of which those rows go that may. The next begins after its
    last row, so that what stays, such as a dead letter among sent ones, is passed once a run.
Decided: nothing but the index decides what a page is. With a condition of which the planner knows little
    (has it letters?) beside the limit, it may read the table from end to end for each batch.
Decided: the turn is a lock of each batch's transaction: a run that meets another's batch leaves the rest to that one.
Rejected: a lock of the session. Behind a pooler, nobody knows whose session it stays with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    true,
    tuple_,
    update,
)

from notify.domain.retention import Kept
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.statuses import JobStatus
from notify.store import stats
from notify.store.tables import delivery_stats, email_jobs, events, work_items

EMPTY: dict[str, object] = {}
TURN = literal(0x7072756E65, BigInteger)


Place = tuple[datetime, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How many rows were looked at, how many of them went, and where the next batch begins; None: nowhere."""

    seen: int
    gone: int
    reached: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """How many rows are old enough to go."""

    jobs: int
    events: int
    stats: int


def take_turn(connection: Connection) -> bool:
    """The right to delete, until the transaction ends; False if somebody else has it."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(TURN))))


def prune_jobs(connection: Connection, kept: Kept, *, limit: int, after: Place | None = None) -> Batch:
    """
    Delete those of the next *limit* letters that ended long enough ago, with their tries.

    A letter stays as long as any replay of it: without it, two replays would both be the letter itself.
    """
    replays = email_jobs.alias("replays")
    unreplayed = ~exists().where(replays.c.replay_of == email_jobs.c.id)
    return _prune(connection, email_jobs, kept.letters, unreplayed, limit=limit, after=after, stage=DELIVER)


def prune_events(connection: Connection, kept: Kept, *, limit: int, after: Place | None = None) -> Batch:
    """Delete those of the next *limit* events that ended long enough ago and have no letter left."""
    childless = ~exists().where(email_jobs.c.event_id == events.c.id)
    return _prune(connection, events, kept.events, childless, limit=limit, after=after, stage=FAN_OUT)


def empty_events(connection: Connection, kept: Kept, *, limit: int, after: Place | None = None) -> Batch:
    """
    Delete the words of those of the next *limit* events that have had them for long enough; nothing if they may stay.

    Not while a letter about the event waits. The event stays, and says since when it is empty.
    """
    if kept.bodies is None:
        return Batch(seen=0, gone=0, reached=None)
    waits = exists().where(email_jobs.c.event_id == events.c.id, email_jobs.c.status == JobStatus.PENDING)
    full = events.c.emptied_at.is_(None) & (events.c.payload != EMPTY) & ~waits
    act = update(events).values(payload=EMPTY, emptied_at=func.now())
    return _batch(connection, events, kept.bodies, full, act, limit=limit, after=after)


def prune_stats(connection: Connection, kept: Kept) -> int:
    """Delete the counts of minutes long past, which the totals have; how many rows."""
    stats.fold(connection)
    return connection.execute(delete(delivery_stats).where(_past(kept))).rowcount


def old(connection: Connection, kept: Kept) -> Old:
    """What there is to delete: reads every such row once. Events are counted whose letters would all be gone."""
    replays = email_jobs.alias("replays")
    ripe = _old(email_jobs, kept.letters)
    needed = exists().where(replays.c.replay_of == email_jobs.c.id, ~_is(_old(replays, kept.letters)))
    stays = exists().where(email_jobs.c.event_id == events.c.id, ~_is(ripe))
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
    after: Place | None,
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
    after: Place | None,
    stage: str | None = None,
) -> Batch:
    """
    Do it to those of the next rows that ended at least so long ago for which the condition holds.

    Args:
        stage: Whose dead items of these rows go with them.
    """
    row = table.c
    page = select(row.id, row.finished_at).where(row.finished_at < func.now() - literal(least))
    if after is not None:
        page = page.where(tuple_(row.finished_at, row.id) > tuple_(*after))
    seen = _fenced(page.order_by(row.finished_at, row.id).limit(limit), "seen")
    may_go = select(row.id).where(row.id == _any_of(seen), condition)
    chosen = _fenced(may_go.with_for_update(skip_locked=True, of=table), "chosen")
    gone = act.where(row.id == _any_of(chosen)).returning(row.id).cte("gone")
    last = select(seen).order_by(seen.c.finished_at.desc(), seen.c.id.desc()).limit(1).subquery("last")
    numbers = (select(func.count()).select_from(one).scalar_subquery() for one in (seen, gone))
    counts = select(*(number.label(name) for number, name in zip(numbers, ("seen", "gone"), strict=True))).subquery()
    query = select(counts, last).select_from(counts.outerjoin(last, true()))
    if stage is not None:
        forgotten = delete(work_items).where(work_items.c.stage == stage, work_items.c.id == _any_of(gone))
        query = query.add_cte(forgotten.cte("forgotten"))
    found = connection.execute(query).one()
    reached = None if found.id is None else (found.finished_at, found.id)
    return Batch(seen=found.seen, gone=found.gone, reached=reached)


def _fenced(query: Select[Any], name: str) -> CTE:
    return query.cte(name).prefix_with("MATERIALIZED", dialect="postgresql")


def _any_of(rows: CTE) -> ColumnElement[int]:
    return func.any(func.array(select(rows.c.id).scalar_subquery()))


def _scalar(connection: Connection, query: Select[int]) -> int:
    return connection.scalar(query) or 0
