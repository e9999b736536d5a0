"""When each queue's ref is looked at next, and what was wrong the last time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

_TAKE = """
    INSERT INTO notify.queue_polls AS known (queue, due_at) SELECT unnest(%(queues)s::text[]), now() + %(every)s
    ON CONFLICT (queue) DO UPDATE SET due_at = excluded.due_at WHERE known.due_at <= now()
    RETURNING queue"""
_DUE = """
    SELECT 1 FROM unnest(%(queues)s::text[]) AS wanted(queue) LEFT JOIN notify.queue_polls AS known USING (queue)
    WHERE coalesce(known.due_at, '-infinity') <= now() LIMIT 1"""
_NOW = """
    INSERT INTO notify.queue_polls AS known (queue, due_at) SELECT unnest(%(queues)s::text[]), now()
    ON CONFLICT (queue) DO UPDATE SET due_at = least(known.due_at, excluded.due_at)"""
_NOTE = """
    UPDATE notify.queue_polls SET fault = left(%(fault)s, 250),
        fault_at = CASE WHEN %(fault)s::text IS NOT NULL THEN coalesce(fault_at, now()) END
    WHERE queue = %(queue)s AND (fault IS NOT NULL OR %(fault)s::text IS NOT NULL)"""
_FAULTS = "SELECT queue, fault, fault_at FROM notify.queue_polls WHERE fault IS NOT NULL"


@dataclass(frozen=True, slots=True)
class PollFault:
    """Why a queue's ref could not be looked at, and since when."""

    queue: str
    fault: str
    since: datetime


def take(connection: Connection, queues: Sequence[str], *, every: timedelta) -> list[str]:
    """Those of these queues whose refs are to be looked at now, by one process alone."""
    return sorted(connection.exec_driver_sql(_TAKE, {"queues": sorted(queues), "every": every}).scalars())


def is_due(connection: Connection, queues: Sequence[str]) -> bool:
    """Whether one of these queues is to be looked at."""
    return bool(queues) and connection.exec_driver_sql(_DUE, {"queues": list(queues)}).first() is not None


def make_due(connection: Connection, queues: Sequence[str]) -> None:
    """Look at these queues at the next opportunity."""
    if queues:
        connection.exec_driver_sql(_NOW, {"queues": sorted(queues)})


def note(connection: Connection, queue: str, *, fault: str | None) -> None:
    """How the look went; None: well."""
    connection.exec_driver_sql(_NOTE, {"queue": queue, "fault": fault})


def faults(connection: Connection) -> list[PollFault]:
    """The queues that could not be looked at the last time."""
    return [PollFault(*row) for row in connection.exec_driver_sql(_FAULTS)]
