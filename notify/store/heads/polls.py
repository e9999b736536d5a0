"""When each queue's ref is looked at next, and what was wrong the last time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

# A look whose worker ends in it is repeated.
LEASE = timedelta(minutes=1)
# One that nobody has looked at yet has no row.
_TAKE = """
    WITH due AS MATERIALIZED (
        SELECT known.queue FROM notify.queue_polls AS known
        WHERE known.queue = ANY (%(queues)s::text[]) AND known.due_at <= now()
        ORDER BY known.due_at, known.queue LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE notify.queue_polls AS known SET due_at = now() + %(lease)s FROM due WHERE known.queue = due.queue
        RETURNING known.queue, known.due_at
    ), made AS (
        INSERT INTO notify.queue_polls (queue, due_at)
        SELECT wanted.queue, now() + %(lease)s FROM unnest(%(queues)s::text[]) AS wanted(queue)
        WHERE NOT EXISTS (SELECT FROM notify.queue_polls AS known WHERE known.queue = wanted.queue)
        ORDER BY wanted.queue LIMIT %(most)s - (SELECT count(*) FROM due)
        ON CONFLICT (queue) DO NOTHING RETURNING queue, due_at
    )
    SELECT queue, due_at FROM taken UNION ALL SELECT queue, due_at FROM made"""
_DUE = """
    SELECT 1 FROM unnest(%(queues)s::text[]) AS wanted(queue) LEFT JOIN notify.queue_polls AS known USING (queue)
    WHERE coalesce(known.due_at, '-infinity') <= now() LIMIT 1"""
_NOW = """
    INSERT INTO notify.queue_polls AS known (queue, due_at) SELECT unnest(%(queues)s::text[]), now()
    ON CONFLICT (queue) DO UPDATE SET due_at = least(known.due_at, excluded.due_at)"""
_NOTE = """
    UPDATE notify.queue_polls SET due_at = CASE WHEN due_at = %(until)s THEN now() + %(every)s ELSE due_at END,
        fault = left(%(fault)s, 250),
        fault_at = CASE WHEN %(fault)s::text IS NOT NULL THEN coalesce(fault_at, now()) END
    WHERE queue = %(queue)s"""
_FAULTS = "SELECT queue, fault, fault_at FROM notify.queue_polls WHERE fault IS NOT NULL"


@dataclass(frozen=True, slots=True)
class PollFault:
    """Why a queue's ref could not be looked at, and since when."""

    queue: str
    fault: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """The right to look at a queue's ref, until then alone."""

    queue: str
    until: datetime


def take(connection: Connection, queues: Sequence[str], *, every: timedelta, most: int) -> list[Look]:
    """Looks at those of these queues whose refs are to be looked at now, at most so many."""
    values = {"queues": sorted(queues), "lease": min(every, LEASE), "most": most}
    return sorted((Look(*row) for row in connection.exec_driver_sql(_TAKE, values)), key=lambda one: one.queue)


def is_due(connection: Connection, queues: Sequence[str]) -> bool:
    """Whether one of these queues is to be looked at."""
    return bool(queues) and connection.exec_driver_sql(_DUE, {"queues": list(queues)}).first() is not None


def make_due(connection: Connection, queues: Sequence[str]) -> None:
    """Look at these queues at the next opportunity."""
    if queues:
        connection.exec_driver_sql(_NOW, {"queues": sorted(queues)})


def note(connection: Connection, look: Look, *, every: timedelta, fault: str | None) -> None:
    """
    How the look went; the next one is in so much time, or at once if that was asked for meanwhile.

    Args:
        fault: None: well.
    """
    values = {"queue": look.queue, "until": look.until, "every": every, "fault": fault}
    connection.exec_driver_sql(_NOTE, values)


def faults(connection: Connection) -> list[PollFault]:
    """The queues that could not be looked at the last time."""
    return [PollFault(*row) for row in connection.exec_driver_sql(_FAULTS)]
