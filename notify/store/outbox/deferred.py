"""What is deferred for a person, bundled anew when they choose another time for it."""

from collections.abc import Mapping
from json import dumps

from sqlalchemy import Connection

from notify.domain.bundles import MOST_DEFERRED, BundleKey
from notify.domain.claims import Lane
from notify.domain.schedule import Wait
from notify.domain.stages import DELIVER
from notify.store.outbox import bundles
from notify.store.outbox.bundles import Changed

# A job that was claimed once may be out already, and so may one that a replay has repeated, which was cancelled and is
# retried: what their Message-IDs tell of stays as it is.
_MINE = f"""
    FROM notify.email_jobs AS job JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
    WHERE job.id = ANY (ARRAY(SELECT email_job_id FROM notify.notifications WHERE username = %(whom)s))
        AND job.status = 'pending' AND item.attempt = 0 AND item.lane IN ({Lane.NORMAL:d}, {Lane.BULK:d})
        AND NOT EXISTS (SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id)"""
_LOCK = f"SELECT job.id {_MINE} ORDER BY job.id FOR UPDATE OF item"
# Of all emails that leave at one instant the first take what the others tell of, as much as there is room for.
_REGROUP = f"""
    WITH target AS (
        SELECT * FROM jsonb_to_recordset(%(targets)s::jsonb) AS target(
            by_bot boolean, until timestamptz, deferred_by text
        )
    ), mine AS MATERIALIZED (
        SELECT job.id, job.topic, job.expires_at, job.deferred_by AS before, target.until, target.deferred_by,
            row_number() OVER (PARTITION BY target.until ORDER BY job.id) - 1 AS place
        FROM (SELECT job.*, item.lane = {Lane.BULK:d} AS by_bot {_MINE}) AS job JOIN target USING (by_bot)
        WHERE job.deferred_by IS NOT NULL OR target.until IS NOT NULL
    ), told AS MATERIALIZED (
        SELECT note.id, note.event_type, mine.id AS was, mine.until, mine.expires_at,
            div(row_number() OVER (PARTITION BY mine.until ORDER BY mine.id, note.id) - 1, {MOST_DEFERRED}) AS place
        FROM mine JOIN notify.notifications AS note ON note.email_job_id = mine.id
    ), placed AS MATERIALIZED (
        SELECT told.id, told.was, mine.id AS job_id, greatest(
                told.expires_at, coalesce(mine.until, now()) + coalesce(kind.expires_after, interval '72 hours')
            ) AS ends
        FROM told JOIN mine ON mine.until IS NOT DISTINCT FROM told.until AND mine.place = told.place
        LEFT JOIN notify.notification_event_types AS kind ON kind.code = told.event_type
    ), moved AS (
        UPDATE notify.notifications AS note SET email_job_id = placed.job_id
        FROM placed WHERE note.id = placed.id AND placed.was <> placed.job_id
    ), kept AS (
        UPDATE notify.email_jobs AS job
        SET deferred_by = coalesce(mine.deferred_by, mine.before), expires_at = email.ends,
            topic = CASE WHEN mine.until IS NULL AND email.jobs = 1 THEN mine.topic END
        FROM mine JOIN (
            SELECT job_id, max(ends) AS ends, count(DISTINCT was) AS jobs FROM placed GROUP BY job_id
        ) AS email ON email.job_id = mine.id
        WHERE job.id = mine.id
        RETURNING job.id, mine.until
    ), gone AS (
        DELETE FROM notify.email_jobs AS job
        WHERE job.id IN (SELECT id FROM mine EXCEPT SELECT job_id FROM placed) RETURNING job.id
    ), done AS (
        DELETE FROM notify.work_items AS item USING gone WHERE item.stage = '{DELIVER}' AND item.id = gone.id
    ), due AS (
        UPDATE notify.work_items AS item SET due_at = coalesce(kept.until, now())
        FROM kept WHERE item.stage = '{DELIVER}' AND item.id = kept.id
    )
    SELECT id, until FROM kept"""


def regroup(connection: Connection, username: str, waits: Mapping[bool, Wait | None]) -> int:
    """
    Let the person's emails that nobody has claimed wait as long as this, or let go what was deferred; how many.

    What waits until one instant, or goes now, leaves as one email; the expiry is extended if that makes it later.
    A constant number of statements. The person's settings must be locked; then no email that is
    written meanwhile is overlooked.

    Args:
        waits: By whether a bot did what the email tells of; None: it is not deferred.
    """
    keys = {BundleKey(username, until=wait.until) for wait in waits.values() if wait}
    if keys:
        bundles.lock(connection, keys)
    # Whoever joins one of these holds its lock: the statement that follows sees everybody who has.
    connection.exec_driver_sql(_LOCK, {"whom": username})
    parameters = {"whom": username, "targets": dumps(_named(waits))}
    kept = connection.exec_driver_sql(_REGROUP, parameters).all()
    last = {until: max(id_ for id_, then in kept if then == until) for _, until in kept if until}
    bundles.remember(
        connection,
        [Changed(key=BundleKey(username, until=until), last_at=until, job_id=last[until]) for until in last],
    )
    return len(kept)


def _named(waits: Mapping[bool, Wait | None]) -> list[dict[str, object]]:
    return [
        {"by_bot": by_bot, "until": wait.until.isoformat() if wait else None, "deferred_by": wait.by if wait else None}
        for by_bot, wait in waits.items()
    ]
