"""Who is told of an event, and by which email: written by the fan-out, corrected by the recheck."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.errors import NotifyError
from notify.domain.stages import DELIVER
from notify.store.outbox.bundles import REMEMBER, Changed, noted

# Of an email about which its event types say nothing, as SQL.
LIFE = "interval '72 hours'"
MAX_FAILURES = 12
TOLD, SKIPPED = "told", "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotification:
    """
    A row to be: somebody is told (``to_email``), or is skipped; and ``why``.

    Args:
        message_id: Of an email of its own; None: it has none.
        leaves_at: When that email may go, ISO 8601 with an offset; None: now.
        deferred_by: What it waits for until then.
        email_job_id: The email that tells of it instead.
        joins: The Message-ID of that email, where this statement writes it too.
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
        """What names the row before it has an id: its event and its person."""
        return self.event_id, self.username


# Emails are written in one order everywhere: two workers with the same ones must not wait for each other.
_WRITE = f"""
    WITH new AS MATERIALIZED (
        SELECT new.*, max(coalesce(new.leaves_at, now()) + coalesce(
            (SELECT expires_after FROM notify.notification_event_types WHERE code = new.event_type), {LIFE}
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
    ), noted AS ({REMEMBER.format("(SELECT written.id FROM written WHERE written.message_id = changed.message_id)")}
    )
    SELECT decision, count(*) FROM told GROUP BY decision UNION ALL SELECT NULL, count(*) FROM new"""


_TAKE_BACK = f"""
    WITH gone AS (
        DELETE FROM notify.email_jobs AS job
        WHERE job.message_id = ANY (%(ids)s::text[]) AND NOT EXISTS (
            SELECT FROM notify.notifications AS note WHERE note.email_job_id = job.id
        )
        RETURNING job.id
    )
    DELETE FROM notify.work_items AS item USING gone WHERE item.stage = '{DELIVER}' AND item.id = gone.id"""


_KNOWN = "SELECT event_id, username FROM notify.notifications WHERE event_id = ANY (%(ids)s::bigint[])"


class MessageIdTaken(NotifyError):
    """Another email has the Message-ID that this event's must have."""


def write(connection: Connection, rows: Sequence[NewNotification], *, bundles: Sequence[Changed] = ()) -> Counter[str]:
    """
    Write those that are not there yet, and their emails; how many by decision. One statement, safe to repeat.

    Args:
        bundles: What to note of those that they are in, which must be locked.

    Raises:
        MessageIdTaken: An email would have the Message-ID of another.
    """
    if not rows:
        return Counter()
    parameters = {"rows": dumps([asdict(row) for row in rows]), "bundles": noted(bundles)}
    found: dict[str | None, int] = dict(connection.exec_driver_sql(_WRITE, parameters).cursor.fetchall())
    fresh = found.pop(None)
    counts = Counter({decision: count for decision, count in found.items() if decision})
    if counts.total() < (fresh or 0):
        _see_whose(connection, rows)
    return counts


def _see_whose(connection: Connection, rows: Sequence[NewNotification]) -> None:
    """
    What was not written is another worker's, which fans out the same events at this moment; or else is lost.

    Where that worker decided otherwise, by what was known then, our email would tell of nothing: there is none.
    """
    there = known(connection, sorted({row.event_id for row in rows}))
    for row in rows:
        if row.name not in there:
            raise MessageIdTaken(event=row.event_id)
    connection.exec_driver_sql(_TAKE_BACK, {"ids": [row.message_id for row in rows if row.message_id]})


def known(connection: Connection, event_ids: Sequence[int]) -> set[tuple[int, str]]:
    """The (event, person) of these events about which it was decided before."""
    return set(connection.exec_driver_sql(_KNOWN, {"ids": list(event_ids)}).cursor.fetchall())


_DROP = f"""
    UPDATE notify.notifications AS note SET decision = '{SKIPPED}', why = dropped.why, email_job_id = NULL
    FROM jsonb_to_recordset(%(dropped)s::jsonb) AS dropped(id bigint, why text) WHERE note.id = dropped.id"""


def drop(connection: Connection, whys: Sequence[tuple[int, str]]) -> None:
    """The emails of these, which the caller has claimed, do not tell of them after all, for these reasons."""
    if whys:
        connection.exec_driver_sql(_DROP, {"dropped": dumps([{"id": id_, "why": why} for id_, why in whys])})
