"""Notifications: written by the fan-out with their emails, corrected by the recheck."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.errors import NotifyError
from notify.domain.outcomes import WITHDRAWN
from notify.domain.stages import DELIVER
from notify.store.outbox.bundles import UPDATE_BUNDLES, BundleUpdate, as_json

# Of emails whose event types state no expiry, as SQL.
DEFAULT_EXPIRY = "interval '72 hours'"
MAX_FAILURES = 12
TOLD, SKIPPED = "told", "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotification:
    """
    A notification to write: told at ``to_email``, or skipped; and ``why``.

    Args:
        message_id: Of its own email; None: it joins another, or is skipped.
        leaves_at: When its own email is due, ISO 8601 with an offset; None: now.
        deferred_by: Why it is due later; None: it is not deferred.
        email_job_id: The existing email that it joins.
        joins: The Message-ID of the email that it joins, if this statement creates that one too.
    """

    event_id: int
    event_type: str
    topic: str
    username: str
    reason: str
    why: str
    to_email: str | None = None
    lane: Lane = Lane.NORMAL
    message_id: str | None = None
    leaves_at: str | None = None
    deferred_by: str | None = None
    email_job_id: int | None = None
    joins: str | None = None

    @property
    def name(self) -> tuple[int, str]:
        """Its key: event id and username."""
        return self.event_id, self.username


# Emails are inserted in a fixed order, so that two workers with the same events cannot deadlock.
_WRITE = f"""
    WITH new AS MATERIALIZED (
        SELECT new.*, max(coalesce(new.leaves_at, now()) + coalesce(
            (SELECT expires_after FROM notify.notification_event_types WHERE code = new.event_type), {DEFAULT_EXPIRY}
        )) OVER (PARTITION BY new.email_job_id, coalesce(new.joins, new.message_id)) AS ends
        FROM jsonb_to_recordset(%(rows)s::jsonb) AS new(
            event_id bigint, event_type text, topic text, username text, reason text, why text, to_email text,
            lane smallint, message_id text, leaves_at timestamptz, deferred_by text, email_job_id bigint, joins text
        )
        WHERE NOT EXISTS (
            SELECT FROM notify.notifications AS note
            WHERE note.event_id = new.event_id AND note.username = new.username
        )
    ), written AS (
        INSERT INTO notify.email_jobs (username, to_email, topic, message_id, expires_at, deferred_by)
        SELECT username, to_email, CASE WHEN deferred_by IS NULL THEN topic END, message_id, ends, deferred_by
        FROM new WHERE message_id IS NOT NULL ORDER BY event_id, username
        ON CONFLICT (message_id) DO NOTHING
        RETURNING id, message_id
    ), due AS (
        INSERT INTO notify.work_items (stage, id, lane, due_at, max_failures)
        SELECT '{DELIVER}', written.id, new.lane, coalesce(new.leaves_at, now()), {MAX_FAILURES}
        FROM written JOIN new USING (message_id)
    ), told AS (
        INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)
        SELECT event_id, username, event_type, reason, CASE WHEN to_email IS NULL THEN '{SKIPPED}' ELSE '{TOLD}' END,
            why, coalesce(new.email_job_id, written.id)
        FROM new LEFT JOIN written ON written.message_id = coalesce(new.joins, new.message_id)
        WHERE new.to_email IS NULL OR new.email_job_id IS NOT NULL OR written.id IS NOT NULL
        ORDER BY event_id, username
        ON CONFLICT (event_id, username) DO NOTHING
        RETURNING decision
    ), longer AS (
        UPDATE notify.email_jobs AS job SET expires_at = joined.ends
        FROM (SELECT DISTINCT email_job_id, ends FROM new) AS joined
        WHERE job.id = joined.email_job_id AND job.expires_at < joined.ends
    ), bundled AS ({UPDATE_BUNDLES.format("(SELECT id FROM written WHERE written.message_id = changed.message_id)")}
    )
    SELECT decision, count(*) FROM told GROUP BY decision UNION ALL SELECT NULL, count(*) FROM new"""


_DELETE_EMPTY = f"""
    WITH gone AS (
        DELETE FROM notify.email_jobs AS job
        WHERE job.message_id = ANY (%(ids)s::text[]) AND NOT EXISTS (
            SELECT FROM notify.notifications AS note WHERE note.email_job_id = job.id
        )
        RETURNING job.id
    )
    DELETE FROM notify.work_items AS item USING gone WHERE item.stage = '{DELIVER}' AND item.id = gone.id"""


_DECIDED = "SELECT event_id, username FROM notify.notifications WHERE event_id = ANY (%(ids)s::bigint[])"


class MessageIdTaken(NotifyError):
    """Another email already has the Message-ID of this event's email."""


def write(
    connection: Connection, rows: Sequence[NewNotification], *, bundles: Sequence[BundleUpdate] = ()
) -> Counter[str]:
    """
    Write the missing ones and their emails; returns how many by decision. One statement, safe to repeat.

    Args:
        bundles: Updates of their bundles, which must be locked.

    Raises:
        MessageIdTaken: An email would have another's Message-ID.
    """
    if not rows:
        return Counter()
    parameters = {"rows": dumps([asdict(row) for row in rows]), "bundles": as_json(bundles)}
    found: dict[str | None, int] = dict(connection.exec_driver_sql(_WRITE, parameters).cursor.fetchall())
    new = found.pop(None)
    counts = Counter({decision: count for decision, count in found.items() if decision})
    if counts.total() < (new or 0):
        _undo_duplicates(connection, rows)
    return counts


def _undo_duplicates(connection: Connection, rows: Sequence[NewNotification]) -> None:
    """
    Check that whatever was not written belongs to another worker that fans out the same events concurrently.

    If that worker decided differently, our new emails have no notifications and are deleted.
    """
    there = decided(connection, sorted({row.event_id for row in rows}))
    for row in rows:
        if row.name not in there:
            raise MessageIdTaken(event=row.event_id)
    connection.exec_driver_sql(_DELETE_EMPTY, {"ids": [row.message_id for row in rows if row.message_id]})


def decided(connection: Connection, event_ids: Sequence[int]) -> set[tuple[int, str]]:
    """The (event id, username) pairs of these events that already have a notification."""
    return set(connection.exec_driver_sql(_DECIDED, {"ids": list(event_ids)}).cursor.fetchall())


_DROP = f"""
    UPDATE notify.notifications AS note
    SET decision = CASE dropped.why WHEN '{WITHDRAWN}' THEN '{WITHDRAWN}' ELSE '{SKIPPED}' END, why = dropped.why,
        email_job_id = NULL
    FROM jsonb_to_recordset(%(dropped)s::jsonb) AS dropped(id bigint, why text) WHERE note.id = dropped.id"""


def drop(connection: Connection, whys: Sequence[tuple[int, str]]) -> None:
    """Mark these notifications of claimed emails as skipped or withdrawn, for these reasons."""
    if whys:
        connection.exec_driver_sql(_DROP, {"dropped": dumps([{"id": id_, "why": why} for id_, why in whys])})
