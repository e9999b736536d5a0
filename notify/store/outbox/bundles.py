"""Bundles: the email that further notifications of a person join, by topic or by deferral time."""

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

RETENTION = timedelta(days=2)

# Locks the rows, whether they existed or not.
_LOCK = """
    INSERT INTO notify.bundles AS bundle (username, topic, deferred_until, last_at)
    SELECT username, topic, coalesce(until, '-infinity'), coalesce(until, now())
    FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted(username text, topic text, until timestamptz) ORDER BY 1, 2, 3
    ON CONFLICT (username, topic, deferred_until) DO UPDATE SET last_at = bundle.last_at
    RETURNING username, topic, nullif(deferred_until, '-infinity') AS until, last_at, email_job_id, xmax = 0 AS is_new,
        now() AS now"""
UPDATE_BUNDLES = """
        UPDATE notify.bundles AS bundle SET last_at = changed.last_at, email_job_id = coalesce(changed.email_job_id, {})
        FROM jsonb_to_recordset(%(bundles)s::jsonb) AS changed(
            username text, topic text, until timestamptz, last_at timestamptz, email_job_id bigint, message_id text
        )
        WHERE (bundle.username, bundle.topic) = (changed.username, changed.topic)
            AND bundle.deferred_until = coalesce(changed.until, '-infinity')"""
# A retried job that was cancelled may have a replay, which may already be sent.
_UNCLAIMED = f"""
    SELECT job.id, item.due_at, job.deferred_by,
        (SELECT count(*) FROM notify.notifications AS note WHERE note.email_job_id = job.id) AS size
    FROM notify.email_jobs AS job JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
    WHERE job.id = ANY (%(ids)s::bigint[]) AND item.attempt = 0
        AND NOT EXISTS (SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id)
    ORDER BY job.id FOR UPDATE OF item"""
_DEFER_AGAIN = """
    UPDATE notify.email_jobs AS job SET expires_at = job.expires_at + (wait.until - now()),
        deferred_by = coalesce(job.deferred_by, wait.deferred_by)
    FROM jsonb_to_recordset(%(waits)s::jsonb) AS wait(id bigint, until timestamptz, deferred_by text)
    WHERE job.id = wait.id AND job.status = 'pending'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleUpdate:
    """
    A bundle's new state: when its latest email leaves, and which email others may join.

    Args:
        job_id: That email's job; or ``message_id``, if the same statement creates the job. Both None: none to join.
    """

    key: BundleKey
    last_at: datetime
    job_id: int | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class LockedBundles:
    """
    Bundles that are locked until the transaction ends.

    Args:
        now: The database's clock.
    """

    states: Mapping[BundleKey, BundleState]
    now: datetime


def now(connection: Connection) -> datetime:
    """The database's clock."""
    return connection.execute(select(func.now())).scalar_one()


def lock(connection: Connection, keys: AbstractSet[BundleKey]) -> LockedBundles:
    """
    Lock these bundles, at least one, and load their state; at most two statements.

    A missing bundle is created; its email leaves now, or at its deferral time.
    """
    wanted = {"wanted": dumps([_named(key) for key in keys])}
    found = connection.exec_driver_sql(_LOCK, wanted).all()
    known = {_key(row): row for row in found if not row.is_new}
    emails = _unclaimed(connection, [row.email_job_id for row in known.values() if row.email_job_id])
    states = {key: _state(key, row, emails.get(row.email_job_id)) for key, row in known.items()}
    return LockedBundles(states, found[0].now)


def update(connection: Connection, states: Iterable[BundleUpdate]) -> None:
    """Store the new state of these bundles, which must be locked."""
    if states := list(states):
        connection.exec_driver_sql(UPDATE_BUNDLES.format("NULL"), {"bundles": as_json(states)})


def as_json(states: Iterable[BundleUpdate]) -> str:
    """The parameter of ``UPDATE_BUNDLES``."""
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


def defer_again(connection: Connection, waits: Mapping[Claim, Deferral], *, now: datetime) -> None:
    """Defer claimed jobs again, without counting a failure; their expiry moves by as much."""
    if not waits:
        return
    outcomes = [replace(items.released(one), due_in=(wait.until - now).total_seconds()) for one, wait in waits.items()]
    items.settle(connection, DELIVER, outcomes)
    rows = [{"id": one.id, "until": wait.until.isoformat(), "deferred_by": wait.by} for one, wait in waits.items()]
    connection.exec_driver_sql(_DEFER_AGAIN, {"waits": dumps(rows)})


def prune(connection: Connection) -> int:
    """Delete the bundles whose latest email left long ago; returns how many."""
    return connection.execute(delete(bundles).where(bundles.c.last_at < func.now() - RETENTION)).rowcount


def _unclaimed(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """The jobs among these that were never claimed or replayed, locked, each with its number of notifications."""
    if not ids:
        return {}
    return {one.id: one for one in connection.exec_driver_sql(_UNCLAIMED, {"ids": ids})}


def _state(key: BundleKey, row: Row[Any], email: Row[Any] | None) -> BundleState:
    """The state; an email that was since deferred, or is no longer deferred, has left this bundle."""
    if email is None or (email.due_at != key.until if key.until else email.deferred_by):
        return BundleState(last_at=row.last_at)
    return BundleState(last_at=row.last_at, email=email.id, size=email.size)


def _key(row: Row[Any]) -> BundleKey:
    return BundleKey(row.username, row.topic, row.until)


def _named(key: BundleKey) -> dict[str, str | None]:
    return {**key._asdict(), "until": key.until.isoformat() if key.until else None}
