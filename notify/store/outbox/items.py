"""
Work items: claim, lease, attempt and outcome, the same for every stage.

An item is due at ``due_at``; a claim moves ``due_at`` to the end of the lease, so that the item of a dead worker comes
due again. All times are the database's. The statements are written by hand: the planner needs their exact form, and
building them costs more than sending them.

Decided: a claim reads each lane separately (LATERAL). One range over ``(lane, due_at)`` would read all future items of
    a lane before the next lane.
Decided: items whose lease ran out are claimed separately, one at a time: an item that kills its worker must not take
    others with it. They stay in that lane when they are released, postponed or retried by hand.
Decided: what is due is asked by the minimum of each lane, not by EXISTS, which scans the whole table when the
    planner's statistics are from a time when everything was due.
Decided: rows are locked in the order of ids before they are changed: two workers often settle the same rows, one of
    them late, and would deadlock.
Rejected: ``SELECT … FOR UPDATE`` in a subquery of the UPDATE without MATERIALIZED; PostgreSQL may run it twice and
    exceed the limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from notify.domain.backoff import next_delay
from notify.domain.claims import WAITING, Claim, Lane
from notify.domain.outcomes import POISON

MAX_LAPSES = 3
# 30 s doubling to 15 min: with ten attempts about an hour in all.
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(minutes=15)
_OF_CLAIM = ("id", "attempt", "failures", "max_failures", "lapses", "lane", "waited", "predecessor")

Attempt = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DueItems:
    """Whether any item is due, and whether one of them has lapsed."""

    any: bool
    lapsed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome:
    """
    What an attempt means for its work item.

    ``lane`` None: the item is done and is deleted. ``due_in``: seconds from now; negative keeps its place in the queue.
    ``failed``: 1 if the attempt counts against the retry budget. ``reason`` None: the last one stays.
    """

    id: int
    attempt: int
    lane: Lane | None = None
    due_in: float = 0.0
    failed: int = 0
    reason: str | None = None

    @property
    def name(self) -> Attempt:
        """Names the attempt for ever: id and attempt."""
        return self.id, self.attempt


def done(claim: Claim) -> ItemOutcome:
    """The work is done."""
    return ItemOutcome(id=claim.id, attempt=claim.attempt)


def dead(claim: Claim, reason: str, *, failed: int = 0) -> ItemOutcome:
    """The work cannot be done."""
    return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=Lane.DEAD, reason=reason, failed=failed)


def released(claim: Claim) -> ItemOutcome:
    """The item is due again in its old place; no failure is counted."""
    lane = Lane.LAPSED if claim.lapses else Lane(claim.lane)
    return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=lane, due_in=-claim.waited)


def later(claim: Claim, reason: str, *, rng: Random) -> ItemOutcome:
    """The item is due after the backoff, or dead once its retry budget is spent."""
    failures = claim.failures + 1
    if failures >= claim.max_failures:
        return dead(claim, reason, failed=1)
    delay = next_delay(failures, rng=rng, base=FIRST_DELAY, cap=LONGEST_DELAY)
    return replace(released(claim), due_in=delay.total_seconds(), failed=1, reason=reason)


_KEY_NOT_LEASED = """
              AND (item.order_key IS NULL OR item.order_key NOT IN (
                SELECT leased.order_key FROM notify.work_items AS leased
                WHERE leased.stage || '' = %(stage)s AND leased.lane = 8 AND leased.order_key IS NOT NULL
              ))"""
# One step back in work_items_order: no other index has this order.
_PREDECESSOR = """(
            SELECT CASE WHEN before.order_key = item.order_key THEN before.id END FROM (
                SELECT earlier.order_key, earlier.id FROM notify.work_items AS earlier
                WHERE earlier.stage = %(stage)s AND earlier.order_key IS NOT NULL AND earlier.failures = 0
                  AND earlier.lane < 9 AND (earlier.order_key, earlier.id) < (item.order_key, item.id)
                ORDER BY earlier.stage DESC, earlier.order_key DESC, earlier.id DESC LIMIT 1
            ) AS before
        )"""

_WAITED = "extract(epoch FROM now() - item.due_at)::float8 AS waited"
# The values before the claim.
_OF_CHOSEN = (
    "(ARRAY(SELECT chosen.{0} FROM chosen))[array_position(ARRAY(SELECT chosen.id FROM chosen), item.id)] AS {0}"
)


def _claim_waiting(*, free: str, predecessor: str) -> str:
    return f"""
        WITH chosen AS MATERIALIZED (
            SELECT ready.id, ready.lane, ready.waited
            FROM unnest(ARRAY[0, 1, 2]) AS lanes(lane) CROSS JOIN LATERAL (
                SELECT item.id, item.lane, {_WAITED} FROM notify.work_items AS item
                WHERE item.stage || '' = %(stage)s AND item.lane = lanes.lane AND item.lane >= 0
                  AND item.due_at <= now(){free}
                ORDER BY item.due_at, item.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
            ) AS ready
            LIMIT %(most)s
        )
        {_take(lapses="item.lapses", predecessor=predecessor)}"""


def _take(*, lapses: str, predecessor: str) -> str:
    """SQL that leases the chosen items and returns the lanes they were in."""
    return f"""
        UPDATE notify.work_items AS item
        SET lane = 8, attempt = item.attempt + 1, lapses = {lapses}, due_at = now() + %(lease)s, leased_by = %(worker)s
        WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT chosen.id FROM chosen))
        RETURNING item.id, item.attempt, item.failures, item.max_failures, item.lapses, {predecessor} AS predecessor,
            {_OF_CHOSEN.format("lane")}, {_OF_CHOSEN.format("waited")},
            array_position(ARRAY(SELECT chosen.id FROM chosen), item.id) AS turn"""


_CLAIM = _claim_waiting(free="", predecessor="NULL")
_CLAIM_ORDERED = _claim_waiting(free=_KEY_NOT_LEASED, predecessor=_PREDECESSOR)
_CLAIM_LAPSED = f"""
        WITH chosen AS MATERIALIZED (
            SELECT alone.id, alone.lane, alone.waited
            FROM unnest(ARRAY[4, 8]) AS lanes(lane) CROSS JOIN LATERAL (
                SELECT item.id, item.lane, item.due_at, {_WAITED} FROM notify.work_items AS item
                WHERE item.stage || '' = %(stage)s AND item.lane = lanes.lane AND item.lane >= 0
                  AND item.due_at <= now()
                  AND (item.lane = 4 OR item.lapses < {MAX_LAPSES - 1})
                ORDER BY item.due_at, item.id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS alone
            ORDER BY alone.due_at, alone.id LIMIT 1
        )
        {_take(lapses="item.lapses + (item.lane = 8)::int", predecessor=_PREDECESSOR)}"""
_BURY_POISON = f"""
        WITH chosen AS MATERIALIZED (
            SELECT item.id FROM notify.work_items AS item
            WHERE item.stage || '' = %(stage)s AND item.lane = 8
                AND item.due_at <= now() AND item.lapses >= {MAX_LAPSES - 1}
            ORDER BY item.due_at, item.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
        )
        UPDATE notify.work_items AS item
        SET lane = 9, due_at = now(), lapses = item.lapses + 1, reason = '{POISON}'
        WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT chosen.id FROM chosen))
        RETURNING item.id, item.attempt"""


def first_due(lane: Lane) -> str:
    """SQL: when the first item of this lane is due."""
    return f"(SELECT min(due_at) FROM notify.work_items WHERE stage || '' = %(stage)s AND lane = {lane:d})"


_DUE_ITEMS = f"""
        SELECT least({", ".join(map(first_due, [*WAITING, Lane.LAPSED, Lane.LEASED]))}) <= now() AS due,
            least({first_due(Lane.LAPSED)}, {first_due(Lane.LEASED)}) <= now() AS lapsed"""
_NAMED = "unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS named(id, attempt)"
_EXTEND = f"""
        WITH locked AS MATERIALIZED (
            SELECT item.id, item.attempt, item.lane FROM notify.work_items AS item
            WHERE item.stage = %(stage)s AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR NO KEY UPDATE
        )
        UPDATE notify.work_items AS item SET due_at = now() + %(lease)s
        WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(
            SELECT locked.id FROM locked JOIN {_NAMED} ON named.id = locked.id AND named.attempt = locked.attempt
            WHERE locked.lane = 8
        ))
        RETURNING item.id"""
_ANY_LEASED = f"""
        SELECT item.id FROM notify.work_items AS item JOIN {_NAMED} ON named.id = item.id
        WHERE item.stage = %(stage)s AND item.id = ANY (%(ids)s::bigint[]) AND item.attempt = named.attempt
          AND item.lane + 0 = 8 AND item.leased_by = %(worker)s
        LIMIT 1"""
_SETTLE = """
        WITH locked AS MATERIALIZED (
            SELECT item.id, item.attempt, item.lane, item.leased_by FROM notify.work_items AS item
            WHERE item.stage = %(stage)s AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
        ), ours AS MATERIALIZED (
            SELECT outcome.*
            FROM unnest(
                %(ids)s::bigint[], %(attempts)s::int[], %(lanes)s::smallint[], %(dues)s::float8[],
                %(faileds)s::smallint[], %(reasons)s::text[]
            ) AS outcome(id, attempt, lane, due_in, failed, reason)
            JOIN locked ON locked.id = outcome.id AND locked.attempt = outcome.attempt AND locked.lane = 8
            WHERE locked.leased_by = coalesce(%(worker)s, locked.leased_by)
        ), gone AS (
            DELETE FROM notify.work_items AS item
            WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT ours.id FROM ours WHERE ours.lane IS NULL))
            RETURNING item.id
        ), back AS (
            UPDATE notify.work_items AS item
            SET lane = CASE WHEN ours.lane < 4 AND item.lapses > 0 THEN 4 ELSE ours.lane END,
                due_at = now() + ours.due_in * interval '1 second',
                failures = item.failures + ours.failed, reason = coalesce(ours.reason, item.reason)
            FROM ours
            WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT ours.id FROM ours WHERE ours.lane IS NOT NULL))
              AND item.id = ours.id
            RETURNING item.id
        )
        SELECT ours.id, ours.attempt FROM ours"""


def claim(
    connection: Connection, stage: str, *, limit: int, lease: timedelta, worker: UUID, ordered: bool = False
) -> list[Claim]:
    """
    Claim at most *limit* due items that never lapsed: by lane, then the longest due first.

    Skips items that another worker is claiming.

    Args:
        ordered: The stage has order keys: no item is claimed while another with its key is leased. A claim that
            begins before that lease is committed cannot know; callers must check ``predecessor``.
    """
    statement = _CLAIM_ORDERED if ordered else _CLAIM
    rows = _run(connection, statement, stage=stage, most=limit, lease=lease, worker=worker)
    return [_claimed(row) for row in sorted(rows, key=lambda row: row["turn"])]


def claim_lapsed(connection: Connection, stage: str, *, lease: timedelta, worker: UUID) -> Claim | None:
    """Claim one item that has lapsed, now or in an earlier attempt; None: none is due."""
    rows = _run(connection, _CLAIM_LAPSED, stage=stage, lease=lease, worker=worker)
    return _claimed(rows[0]) if rows else None


def bury_poison(connection: Connection, stage: str, *, limit: int) -> list[Attempt]:
    """End the items that lapsed for the third time; their ids and last attempts."""
    return list(map(_attempt, _run(connection, _BURY_POISON, stage=stage, most=limit)))


def is_due(connection: Connection, stage: str) -> bool:
    """Whether any item is due, lapsed ones included."""
    return due_items(connection, stage).any


def due_items(connection: Connection, stage: str) -> DueItems:
    """What is due; ``lapsed`` items are found by ``claim_lapsed`` and ``bury_poison``."""
    (row,) = _run(connection, _DUE_ITEMS, stage=stage)
    return DueItems(any=bool(row["due"]), lapsed=bool(row["lapsed"]))


def extend(connection: Connection, stage: str, attempts: Sequence[Attempt], *, lease: timedelta) -> set[int]:
    """Renew the leases of these attempts; the ids whose lease is still ours."""
    if not attempts:
        return set()
    return set(_ids(connection, _EXTEND, stage=stage, lease=lease, **_named(attempts)))


def undo_claims(connection: Connection, stage: str, claims: Sequence[Claim], *, worker: UUID) -> set[Attempt]:
    """
    Undo claims whose commit was never confirmed; returns those that had been committed.

    If a claim was not committed, another worker may have the same attempt: only *worker*'s leases are undone.
    """
    return settle(connection, stage, [released(one) for one in claims], worker=worker)


def settle(
    connection: Connection, stage: str, outcomes: Sequence[ItemOutcome], *, worker: UUID | None = None
) -> set[Attempt]:
    """
    Record these outcomes; returns the attempts whose lease was still theirs.

    Args:
        worker: Only leases of this process; None: of any.
    """
    if not outcomes:
        return set()
    columns: dict[str, Any] = {
        **_named([(one.id, one.attempt) for one in outcomes]),
        "lanes": [None if one.lane is None else int(one.lane) for one in outcomes],
        "dues": [one.due_in for one in outcomes],
        "faileds": [one.failed for one in outcomes],
        "reasons": [one.reason for one in outcomes],
    }
    return set(map(_attempt, _run(connection, _SETTLE, stage=stage, worker=worker, **columns)))


def any_leased(connection: Connection, stage: str, attempts: Sequence[Attempt], *, worker: UUID) -> bool:
    """Whether this worker has a lease under any of these attempts."""
    return bool(_ids(connection, _ANY_LEASED, stage=stage, worker=worker, **_named(attempts)))


def _run(connection: Connection, statement: str, **values: object) -> Sequence[Any]:
    return connection.exec_driver_sql(statement, values).mappings().all()


def _ids(connection: Connection, statement: str, **values: object) -> list[int]:
    return [row["id"] for row in _run(connection, statement, **values)]


def _claimed(row: Mapping[str, Any]) -> Claim:
    return Claim(**{name: row[name] for name in _OF_CLAIM})


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return row["id"], row["attempt"]


def _named(attempts: Sequence[Attempt]) -> dict[str, list[int]]:
    return {"ids": [id_ for id_, _ in attempts], "attempts": [attempt for _, attempt in attempts]}
