"""The open email of a person and topic, or of all that is deferred until one instant."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from json import dumps
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from notify.domain.bundles import BundleKey, BundleState
from notify.domain.claims import Claim
from notify.domain.schedule import Deferral
from notify.domain.stages import DELIVER
from notify.store.outbox import items
from notify.store.tables.emails import bundles

KEPT = timedelta(days=2)

# Whether it is there already or not, nobody else can change it from now on.
_LOCK = """
    INSERT INTO notify.bundles AS bundle (username, topic, deferred_until, last_at)
    SELECT username, topic, coalesce(until, '-infinity'), coalesce(until, now())
    FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted(username text, topic text, until timestamptz) ORDER BY 1, 2, 3
    ON CONFLICT (username, topic, deferred_until) DO UPDATE SET last_at = bundle.last_at
    RETURNING username, topic, nullif(deferred_until, '-infinity') AS until, last_at, email_job_id, xmax = 0 AS is_new,
        now() AS now"""
REMEMBER = """
        UPDATE notify.bundles AS bundle SET last_at = changed.last_at, email_job_id = coalesce(changed.email_job_id, {})
        FROM jsonb_to_recordset(%(bundles)s::jsonb) AS changed(
            username text, topic text, until timestamptz, last_at timestamptz, email_job_id bigint, message_id text
        )
        WHERE (bundle.username, bundle.topic) = (changed.username, changed.topic)
            AND bundle.deferred_until = coalesce(changed.until, '-infinity')"""
# One that was cancelled and is retried may have a replay, which tells of the same and may be out.
_UNCLAIMED = f"""
    SELECT job.id, item.due_at, job.deferred_by,
        (SELECT count(*) FROM notify.notifications AS note WHERE note.email_job_id = job.id) AS size
    FROM notify.email_jobs AS job JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
    WHERE job.id = ANY (%(ids)s::bigint[]) AND item.attempt = 0
        AND NOT EXISTS (SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id)
    ORDER BY job.id FOR UPDATE OF item"""
_POSTPONE = """
    UPDATE notify.email_jobs AS job SET expires_at = job.expires_at + (wait.until - now()),
        deferred_by = coalesce(job.deferred_by, wait.deferred_by)
    FROM jsonb_to_recordset(%(waits)s::jsonb) AS wait(id bigint, until timestamptz, deferred_by text)
    WHERE job.id = wait.id AND job.status = 'pending'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """
    When the last email of a bundle leaves, and the one that may be joined, if there is one.

    Args:
        job_id: Its job; or ``message_id``, where the statement that notes it writes that job too.
    """

    key: BundleKey
    last_at: datetime
    job_id: int | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """
    The state of some bundles, which nobody else can change until the end of the transaction.

    Args:
        now: The database's clock.
    """

    states: Mapping[BundleKey, BundleState]
    now: datetime


def now(connection: Connection) -> datetime:
    """The database's clock, which is every worker's."""
    return connection.execute(select(func.now())).scalar_one()


def lock(connection: Connection, keys: AbstractSet[BundleKey]) -> Locked:
    """
    The state of these bundles, of which there must be one; at most two statements.

    One that was not known is noted as one whose email leaves now, or at the instant until which it is deferred.
    """
    wanted = {"wanted": dumps([_named(key) for key in keys])}
    found = connection.exec_driver_sql(_LOCK, wanted).all()
    known = {_key(row): row for row in found if not row.is_new}
    emails = _unclaimed(connection, [row.email_job_id for row in known.values() if row.email_job_id])
    states = {key: _state(key, row, emails.get(row.email_job_id)) for key, row in known.items()}
    return Locked(states, found[0].now)


def remember(connection: Connection, states: Iterable[Changed]) -> None:
    """Note the state of these bundles, which must be locked."""
    if states := list(states):
        connection.exec_driver_sql(REMEMBER.format("NULL"), {"bundles": noted(states)})


def noted(states: Iterable[Changed]) -> str:
    """The parameter of ``REMEMBER``."""
    rows = [
        {
            **_named(one.key),
            "last_at": one.last_at.isoformat(),
            "email_job_id": one.job_id,
            "message_id": one.message_id,
        }
        for one in states
    ]
    return dumps(rows)


def postpone(connection: Connection, waits: Mapping[Claim, Deferral], *, now: datetime) -> None:
    """Claimed jobs wait on: no failure counted, and their lives as much longer."""
    if not waits:
        return
    endings = [replace(items.released(one), due_in=(wait.until - now).total_seconds()) for one, wait in waits.items()]
    items.settle(connection, DELIVER, endings)
    rows = [{"id": one.id, "until": wait.until.isoformat(), "deferred_by": wait.by} for one, wait in waits.items()]
    connection.exec_driver_sql(_POSTPONE, {"waits": dumps(rows)})


def prune(connection: Connection) -> int:
    """Delete the bundles whose last email left long ago; how many."""
    return connection.execute(delete(bundles).where(bundles.c.last_at < func.now() - KEPT)).rowcount


def _unclaimed(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Those of these jobs that nobody has claimed or repeated, locked, each with how many events its email tells of."""
    if not ids:
        return {}
    return {one.id: one for one in connection.exec_driver_sql(_UNCLAIMED, {"ids": ids})}


def _state(key: BundleKey, row: Row[Any], email: Row[Any] | None) -> BundleState:
    """The state; an email that has meanwhile been deferred, or let go, is none of this bundle any more."""
    if email is None or (email.due_at != key.until if key.until else email.deferred_by):
        return BundleState(last_at=row.last_at)
    return BundleState(last_at=row.last_at, email=email.id, size=email.size)


def _key(row: Row[Any]) -> BundleKey:
    return BundleKey(row.username, row.topic, row.until)


def _named(key: BundleKey) -> dict[str, str | None]:
    return {**key._asdict(), "until": key.until.isoformat() if key.until else None}
