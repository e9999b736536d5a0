"""
Due, claim, lease, attempt: the one mechanism under everything that is worked off.

An item is due when ``due_at`` has come; a claim pushes ``due_at`` to the end of the lease, so an item whose worker
died comes due by itself. All instants are the database's. The statements are written by hand, for a connection of
SQLAlchemy or of psycopg: the planner needs the exact form, and building them anew costs more than sending them.

Decided: a claim asks each lane by itself (LATERAL). One range over ``(lane, due_at)`` would walk every item that waits
    for the future before it reached the next lane.
Decided: items whose lease ran out are claimed by a statement of their own, one at a time: what kills its worker must
    take no neighbour along. That one was given back, put off or retried by hand since then proves nothing; it stays in
    that lane.
Decided: no EXISTS asks what is due, but the first of each lane. EXISTS reads the whole table where the planner's
    statistics are from an hour when everything was due.
Decided: rows are locked in the order of their ids before they are changed. Two workers often name the same rows, one
    in time and one late: each would wait for the other.
Rejected: ``SELECT … FOR UPDATE`` in a subquery of the UPDATE without MATERIALIZED; PostgreSQL may run it again and
    update more rows than the limit.
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

MOST_LAPSES = 3
# With ten attempts: 30 s doubling to 15 min, about an hour in all.
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)
_OF_CLAIM = ("id", "attempt", "failures", "max_failures", "lapses", "lane", "waited", "predecessor")

Attempt = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What there is to do: whether an item is due, and whether one is that outlived a worker."""

    due: bool
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    How an attempt ends.

    ``lane`` None: the item is done and goes. ``due_in`` in seconds from now, negative for what keeps its place in the
    queue. ``failed`` is 1 where the attempt counts against the budget; ``reason`` None leaves the last one as it is.
    """

    id: int
    attempt: int
    lane: Lane | None = None
    due_in: float = 0.0
    failed: int = 0
    reason: str | None = None

    @property
    def name(self) -> Attempt:
        """What names the attempt for ever."""
        return self.id, self.attempt


def done(claim: Claim) -> Ending:
    """The work is done."""
    return Ending(id=claim.id, attempt=claim.attempt)


def dead(claim: Claim, reason: str, *, failed: int = 0) -> Ending:
    """The work cannot be done."""
    return Ending(id=claim.id, attempt=claim.attempt, lane=Lane.DEAD, reason=reason, failed=failed)


def released(claim: Claim) -> Ending:
    """Given back with its place in the queue, no failure counted."""
    lane = Lane.LAPSED if claim.lapses else Lane(claim.lane)
    return Ending(id=claim.id, attempt=claim.attempt, lane=lane, due_in=-claim.waited)


def later(claim: Claim, reason: str, *, rng: Random) -> Ending:
    """The item waits, twice as long as the last time, or is dead when its budget is spent."""
    failures = claim.failures + 1
    if failures >= claim.max_failures:
        return dead(claim, reason, failed=1)
    delay = next_delay(failures, rng=rng, base=FIRST_WAIT, cap=LONGEST_WAIT)
    return replace(released(claim), due_in=delay.total_seconds(), failed=1, reason=reason)


_NOBODY_ON_ITS_KEY = """
              AND (item.order_key IS NULL OR item.order_key NOT IN (
                SELECT leased.order_key FROM notify.work_items AS leased
                WHERE leased.stage || '' = %(stage)s AND leased.lane = 8 AND leased.order_key IS NOT NULL
              ))"""
# One step back in the index, whatever the planner believes: no other has this order.
_PREDECESSOR = """(
            SELECT CASE WHEN before.order_key = item.order_key THEN before.id END FROM (
                SELECT earlier.order_key, earlier.id FROM notify.work_items AS earlier
                WHERE earlier.stage = %(stage)s AND earlier.order_key IS NOT NULL AND earlier.failures = 0
                  AND earlier.lane < 9 AND (earlier.order_key, earlier.id) < (item.order_key, item.id)
                ORDER BY earlier.stage DESC, earlier.order_key DESC, earlier.id DESC LIMIT 1
            ) AS before
        )"""

_WAITED = "extract(epoch FROM now() - item.due_at)::float8 AS waited"
# What stood there before the claim.
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
    """Lease what is chosen; its lane as it was before."""
    return f"""
        UPDATE notify.work_items AS item
        SET lane = 8, attempt = item.attempt + 1, lapses = {lapses}, due_at = now() + %(lease)s, leased_by = %(worker)s
        WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT chosen.id FROM chosen))
        RETURNING item.id, item.attempt, item.failures, item.max_failures, item.lapses, {predecessor} AS predecessor,
            {_OF_CHOSEN.format("lane")}, {_OF_CHOSEN.format("waited")},
            array_position(ARRAY(SELECT chosen.id FROM chosen), item.id) AS turn"""


_CLAIM = _claim_waiting(free="", predecessor="NULL")
_CLAIM_ORDERED = _claim_waiting(free=_NOBODY_ON_ITS_KEY, predecessor=_PREDECESSOR)
_CLAIM_LAPSED = f"""
        WITH chosen AS MATERIALIZED (
            SELECT alone.id, alone.lane, alone.waited
            FROM unnest(ARRAY[4, 8]) AS lanes(lane) CROSS JOIN LATERAL (
                SELECT item.id, item.lane, item.due_at, {_WAITED} FROM notify.work_items AS item
                WHERE item.stage || '' = %(stage)s AND item.lane = lanes.lane AND item.lane >= 0
                  AND item.due_at <= now()
                  AND (item.lane = 4 OR item.lapses < {MOST_LAPSES - 1})
                ORDER BY item.due_at, item.id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS alone
            ORDER BY alone.due_at, alone.id LIMIT 1
        )
        {_take(lapses="item.lapses + (item.lane = 8)::int", predecessor=_PREDECESSOR)}"""
_BURY_POISON = f"""
        WITH chosen AS MATERIALIZED (
            SELECT item.id FROM notify.work_items AS item
            WHERE item.stage || '' = %(stage)s AND item.lane = 8
                AND item.due_at <= now() AND item.lapses >= {MOST_LAPSES - 1}
            ORDER BY item.due_at, item.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
        )
        UPDATE notify.work_items AS item
        SET lane = 9, due_at = now(), lapses = item.lapses + 1, reason = '{POISON}'
        WHERE item.stage = %(stage)s AND item.id = ANY (ARRAY(SELECT chosen.id FROM chosen))
        RETURNING item.id, item.attempt"""


def first_due(lane: Lane) -> str:
    """When the first item of this lane and the stage is due, as SQL."""
    return f"(SELECT min(due_at) FROM notify.work_items WHERE stage || '' = %(stage)s AND lane = {lane:d})"


_OUTLOOK = f"""
        SELECT least({", ".join(map(first_due, [*WAITING, Lane.LAPSED, Lane.LEASED]))}) <= now() AS due,
            least({first_due(Lane.LAPSED)}, {first_due(Lane.LEASED)}) <= now() AS alone"""
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
            SELECT ending.*
            FROM unnest(
                %(ids)s::bigint[], %(attempts)s::int[], %(lanes)s::smallint[], %(dues)s::float8[],
                %(faileds)s::smallint[], %(reasons)s::text[]
            ) AS ending(id, attempt, lane, due_in, failed, reason)
            JOIN locked ON locked.id = ending.id AND locked.attempt = ending.attempt AND locked.lane = 8
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
    Take due items whose lease has never run out, at most *limit*: urgent ones first, then those due longest.

    Items that another worker is taking at this moment are passed over.

    Args:
        ordered: Items of this stage have order keys: while one is leased, no claim takes another of its key. A claim
            that begins before that lease is committed does not know; whoever makes it has to look at ``predecessor``.
    """
    statement = _CLAIM_ORDERED if ordered else _CLAIM
    rows = _run(connection, statement, stage=stage, most=limit, lease=lease, worker=worker)
    return [_claimed(row) for row in sorted(rows, key=lambda row: row["turn"])]


def claim_lapsed(connection: Connection, stage: str, *, lease: timedelta, worker: UUID) -> Claim | None:
    """Take one item whose lease has run out, now or in an earlier attempt; None when none is due."""
    rows = _run(connection, _CLAIM_LAPSED, stage=stage, lease=lease, worker=worker)
    return _claimed(rows[0]) if rows else None


def bury_poison(connection: Connection, stage: str, *, limit: int) -> list[Attempt]:
    """End the items whose lease has run out for the third time; their ids and last attempts."""
    return list(map(_attempt, _run(connection, _BURY_POISON, stage=stage, most=limit)))


def is_due(connection: Connection, stage: str) -> bool:
    """Whether an item is due, lapsed ones included."""
    return outlook(connection, stage).due


def outlook(connection: Connection, stage: str) -> Outlook:
    """Whether an item is due, and whether ``claim_lapsed`` or ``bury_poison`` would find one."""
    (row,) = _run(connection, _OUTLOOK, stage=stage)
    return Outlook(due=bool(row["due"]), alone=bool(row["alone"]))


def extend(connection: Connection, stage: str, attempts: Sequence[Attempt], *, lease: timedelta) -> set[int]:
    """Renew the leases of these attempts; the ids that are still ours."""
    if not attempts:
        return set()
    return set(_ids(connection, _EXTEND, stage=stage, lease=lease, **_named(attempts)))


def take_back(connection: Connection, stage: str, claims: Sequence[Claim], *, worker: UUID) -> set[Attempt]:
    """
    Undo claims whose commit was never answered; those that had taken place.

    A claim that did not take place leaves its attempt to be given to another: only *worker*'s own are undone.
    """
    return settle(connection, stage, [released(one) for one in claims], worker=worker)


def settle(
    connection: Connection, stage: str, endings: Sequence[Ending], *, worker: UUID | None = None
) -> set[Attempt]:
    """
    End these attempts; those whose lease was still ours.

    Args:
        worker: Only what this process has leased; None: whoever has.
    """
    if not endings:
        return set()
    columns: dict[str, Any] = {
        **_named([(one.id, one.attempt) for one in endings]),
        "lanes": [None if one.lane is None else int(one.lane) for one in endings],
        "dues": [one.due_in for one in endings],
        "faileds": [one.failed for one in endings],
        "reasons": [one.reason for one in endings],
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
