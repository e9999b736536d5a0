"""Regroups a person's deferred notifications after they change their schedule."""

from collections.abc import Mapping
from json import dumps

from sqlalchemy import Connection

from notify.domain.bundles import MAX_DEFERRED, BundleKey
from notify.domain.claims import Lane
from notify.domain.schedule import Deferral
from notify.domain.stages import DELIVER
from notify.store.outbox import bundles
from notify.store.outbox.bundles import BundleUpdate
from notify.store.outbox.notifications import DEFAULT_EXPIRY, MAX_FAILURES

# A job that was claimed, or has a replay, may already be sent: its notifications stay with its Message-ID.
_MINE = f"""
    FROM notify.email_jobs AS job JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
    WHERE job.id = ANY (ARRAY(SELECT email_job_id FROM notify.notifications WHERE username = %(whom)s))
        AND job.status = 'pending' AND item.attempt = 0 AND item.lane IN ({Lane.NORMAL:d}, {Lane.BULK:d})
        AND NOT EXISTS (SELECT FROM notify.email_jobs AS replay WHERE replay.replay_of = job.id)"""
_LOCK = f"SELECT job.id {_MINE} ORDER BY job.id FOR UPDATE OF item"
# Each notification leaves when fan-out would send it today. Those with the same time share one email, in the lane of
# its first notification. Existing jobs are reused; one may be missing where bots' events leave people's.
_REGROUP = f"""
    WITH target AS (
        SELECT * FROM jsonb_to_recordset(%(targets)s::jsonb) AS target(
            by_bot boolean, until timestamptz, deferred_by text
        )
    ), waiting AS (
        SELECT job.*, note.id AS note_id, note.event_type, target.by_bot, target.until, target.deferred_by AS waits_by,
            count(target.until) OVER (PARTITION BY job.id) AS deferred
        FROM (SELECT job.* {_MINE}) AS job JOIN notify.notifications AS note ON note.email_job_id = job.id
        JOIN notify.events AS event ON event.id = note.event_id
        LEFT JOIN notify.people AS actor ON actor.username = event.actor
        JOIN target ON target.by_bot = coalesce(actor.is_bot, false)
    ), told AS MATERIALIZED (
        SELECT *, row_number() OVER (ORDER BY id, note_id) AS position,
            div(row_number() OVER (PARTITION BY until ORDER BY id, note_id) - 1, {MAX_DEFERRED}) AS page
        FROM waiting WHERE deferred_by IS NOT NULL OR deferred > 0
    ), email AS (
        SELECT until, page, min(position) AS first, count(DISTINCT id) AS jobs,
            row_number() OVER (ORDER BY min(position)) AS number, max(greatest(
                expires_at, coalesce(until, now()) + coalesce(kind.expires_after, {DEFAULT_EXPIRY})
            )) AS ends
        FROM told LEFT JOIN notify.notification_event_types AS kind ON kind.code = told.event_type
        GROUP BY until, page
    ), mine AS (
        SELECT id, row_number() OVER (ORDER BY id) AS number FROM (SELECT DISTINCT id FROM told) AS job
    ), placed AS MATERIALIZED (
        SELECT email.until, email.page, email.ends, mine.id IS NULL AS is_new,
            coalesce(mine.id, nextval(pg_get_serial_sequence('notify.email_jobs', 'id'))) AS job_id,
            first.username, first.to_email, first.message_id,
            CASE WHEN email.until IS NULL AND email.jobs = 1 THEN first.topic END AS topic,
            coalesce(first.waits_by, first.deferred_by) AS deferred_by,
            CASE WHEN first.by_bot THEN {Lane.BULK:d} ELSE {Lane.NORMAL:d} END AS lane
        FROM email JOIN told AS first ON first.position = email.first LEFT JOIN mine USING (number)
        ORDER BY number
    ), moved AS (
        UPDATE notify.notifications AS note SET email_job_id = placed.job_id
        FROM told JOIN placed ON placed.until IS NOT DISTINCT FROM told.until AND placed.page = told.page
        WHERE note.id = told.note_id AND told.id <> placed.job_id
    ), kept AS (
        UPDATE notify.email_jobs AS job
        SET deferred_by = placed.deferred_by, expires_at = placed.ends, topic = placed.topic
        FROM placed WHERE job.id = placed.job_id
    ), due AS (
        UPDATE notify.work_items AS item SET due_at = coalesce(placed.until, now()), lane = placed.lane
        FROM placed WHERE item.stage = '{DELIVER}' AND item.id = placed.job_id
    ), written AS (
        INSERT INTO notify.email_jobs (id, username, to_email, topic, message_id, expires_at, deferred_by)
        OVERRIDING SYSTEM VALUE
        SELECT job_id, username, to_email, topic,
            regexp_replace(message_id, '(\\.s\\d+)?@', '.s' || job_id || '@'), ends, deferred_by
        FROM placed WHERE is_new
    ), written_item AS (
        INSERT INTO notify.work_items (stage, id, lane, due_at, max_failures)
        SELECT '{DELIVER}', job_id, lane, coalesce(until, now()), {MAX_FAILURES} FROM placed WHERE is_new
    ), gone AS (
        DELETE FROM notify.email_jobs AS job
        WHERE job.id IN (SELECT id FROM mine EXCEPT SELECT job_id FROM placed) RETURNING job.id
    ), done AS (
        DELETE FROM notify.work_items AS item USING gone WHERE item.stage = '{DELIVER}' AND item.id = gone.id
    )
    SELECT job_id, until FROM placed"""


def regroup(connection: Connection, username: str, waits: Mapping[bool, Deferral | None]) -> int:
    """
    Defer the person's unclaimed notifications anew, or release them; returns how many emails there are now.

    Notifications with the same time share one email; an expiry is extended if that makes it later. A constant number
    of statements. The person's settings must be locked, so that no concurrent fan-out is missed.

    Args:
        waits: By whether a bot caused the notification; None: not deferred.
    """
    keys = {BundleKey(username, until=wait.until) for wait in waits.values() if wait}
    if keys:
        bundles.lock(connection, keys)
    # Joining one of these takes its lock, so that the next statement sees every notification that joined.
    connection.exec_driver_sql(_LOCK, {"whom": username})
    parameters = {"whom": username, "targets": dumps(_named(waits))}
    kept = connection.exec_driver_sql(_REGROUP, parameters).all()
    last = {until: max(id_ for id_, then in kept if then == until) for _, until in kept if until}
    bundles.update(
        connection,
        [BundleUpdate(key=BundleKey(username, until=until), last_at=until, job_id=last[until]) for until in last],
    )
    return len(kept)


def _named(waits: Mapping[bool, Deferral | None]) -> list[dict[str, object]]:
    return [
        {"by_bot": by_bot, "until": wait.until.isoformat() if wait else None, "deferred_by": wait.by if wait else None}
        for by_bot, wait in waits.items()
    ]
