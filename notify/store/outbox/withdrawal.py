"""
Withdrawing an event, in an application's transaction: what nobody has claimed of it is not sent.

Decided: locks are taken in the workers' order: the event's work item, the event, then the emails' work items by id.
    The fan-out settles an event before it writes its emails, so it does not tell of one that was withdrawn meanwhile.
Decided: leased items are not locked, so that no worker waits for the application. An email that comes back from its
    worker is left to the recheck.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps

from sqlalchemy import text

from notify.domain.claims import Lane
from notify.domain.errors import NotifyError
from notify.domain.outcomes import WITHDRAWN, JobStatus
from notify.domain.stages import DELIVER, FAN_OUT
from notify.store.callers import Statement, Statements

_ASKED = "CAST(CAST(:asked AS text) AS jsonb)"
_ID = f"CAST({_ASKED} ->> 'id' AS bigint)"
_LOCK_EVENT = text(f"""
    WITH item AS MATERIALIZED (
        SELECT item.id FROM notify.work_items AS item
        WHERE item.stage = '{FAN_OUT}' AND item.id = (
            SELECT event.id FROM notify.events AS event WHERE event.key = {_ASKED} ->> 'key'
        ) FOR UPDATE
    )
    SELECT event.id, event.type, CAST(pg_current_xact_id() AS text) FROM notify.events AS event
    WHERE event.key = {_ASKED} ->> 'key' AND (SELECT count(*) FROM item) >= 0
    FOR NO KEY UPDATE OF event""")
_LOCK_EMAILS = text(f"""
    WITH own AS MATERIALIZED (
        SELECT note.email_job_id AS id FROM notify.notifications AS note
        WHERE note.event_id = {_ID} AND note.email_job_id IS NOT NULL
    )
    SELECT item.id FROM notify.work_items AS item
    WHERE item.stage = '{DELIVER}' AND item.lane + 0 < {Lane.LEASED:d} AND item.id = ANY (ARRAY(
        SELECT own.id FROM own
        UNION SELECT replay.id FROM notify.email_jobs AS replay WHERE replay.replay_of = ANY (ARRAY(SELECT id FROM own))
    )) ORDER BY item.id FOR UPDATE""")
# Nothing happens unless the locks are of this transaction: in autocommit mode they are gone.
_WITHDRAW = text(f"""
    WITH withdrawn AS MATERIALIZED (
        SELECT {_ID} AS id WHERE {_ASKED} ->> 'transaction' = CAST(pg_current_xact_id() AS text)
    ), email AS MATERIALIZED (
        SELECT job.id, item.attempt, item.lapses, EXISTS (
            SELECT FROM notify.notifications AS other JOIN notify.events AS event ON event.id = other.event_id
            WHERE other.email_job_id = coalesce(job.replay_of, job.id) AND event.id <> {_ID}
                AND event.status <> '{WITHDRAWN}'
        ) AS tells_more
        FROM notify.email_jobs AS job JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
        WHERE job.id = ANY (ARRAY(SELECT CAST(jsonb_array_elements_text({_ASKED} -> 'emails') AS bigint)))
            AND job.status = '{JobStatus.PENDING}' AND EXISTS (SELECT FROM withdrawn)
    ), ended AS (
        UPDATE notify.email_jobs AS job SET status = '{WITHDRAWN}', finished_at = now(), outcome_reason = NULL,
            attempts = greatest(job.attempts, email.attempt), lapses = greatest(job.lapses, email.lapses)
        FROM email WHERE job.id = email.id AND NOT email.tells_more
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = '{DELIVER}' AND item.id = ANY (ARRAY(SELECT id FROM email WHERE NOT tells_more))
    ), left_out AS (
        UPDATE notify.notifications SET decision = '{WITHDRAWN}', why = '{WITHDRAWN}', email_job_id = NULL
        WHERE event_id = {_ID} AND email_job_id = ANY (ARRAY(SELECT id FROM email WHERE tells_more))
    ), not_fanned_out AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = '{FAN_OUT}' AND item.id = (SELECT id FROM withdrawn)
    )
    UPDATE notify.events SET status = '{WITHDRAWN}', finished_at = coalesce(finished_at, now())
    WHERE id = (SELECT id FROM withdrawn) RETURNING id""")
# Usernames in hexadecimal: the caller's session may have an encoding that cannot represent one.
_PEOPLE = text(f"""
    SELECT encode(convert_to(note.username, 'UTF8'), 'hex'), note.reason,
        CASE WHEN job.id IS NULL THEN note.decision WHEN item.lane = {Lane.LEASED:d} THEN '{JobStatus.SENDING}'
            ELSE job.status END,
        CASE WHEN job.id IS NULL THEN note.why ELSE job.outcome_reason END
    FROM notify.notifications AS note
    LEFT JOIN notify.email_jobs AS job ON job.id = note.email_job_id
    LEFT JOIN notify.work_items AS item ON item.stage = '{DELIVER}' AND item.id = job.id
    WHERE note.event_id = {_ID} ORDER BY note.id""")


class NoTransaction(NotifyError):
    """An event is withdrawn in a transaction, but this connection is in autocommit mode; nothing was withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnEvent:
    """An event that is locked until the caller's transaction ends, with that transaction's id."""

    id: int
    type: str
    transaction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnPerson:
    """
    What became of a withdrawn event for one person whom it concerns.

    ``status`` is ``withdrawn``; or what was too late to withdraw: ``sending``, ``sent``, ``skipped``, ``dead``, …
    """

    username: str
    reason: str
    status: str
    why: str | None


def locking_event(key: str) -> Statements[WithdrawnEvent | None]:
    """Lock the event and its fan-out; None: unknown key."""
    found = yield Statement(_LOCK_EVENT, {"asked": dumps({"key": key})})
    return next((WithdrawnEvent(id=id_, type=type_, transaction=of) for id_, type_, of in found), None)


def withdrawing(event: WithdrawnEvent) -> Statements[list[WithdrawnPerson]]:
    """
    Withdraw a locked event; what became of everyone whom it concerns. Four statements, however many people there are.

    Raises:
        NoTransaction: The event is not locked any more.
    """
    emails = yield from _locking_emails(event.id)
    asked = dumps({"id": event.id, "emails": emails, "transaction": event.transaction})
    if not (yield Statement(_WITHDRAW, {"asked": asked})):
        raise NoTransaction
    people = yield Statement(_PEOPLE, {"asked": dumps({"id": event.id})})
    return [
        WithdrawnPerson(username=bytes.fromhex(username).decode(), reason=reason, status=status, why=why)
        for username, reason, status, why in people
    ]


def _locking_emails(event_id: int) -> Statements[Sequence[int]]:
    """
    The emails that tell of it and that nobody has claimed, locked.

    While a statement waits for a lock, its owner may add notifications to an email or move ours to another, so it is
    repeated until it finds what it has locked: once, unless a person changes their schedule at this moment.
    """
    locked: Sequence[int] | None = None
    while (found := [id_ for (id_,) in (yield Statement(_LOCK_EMAILS, {"asked": dumps({"id": event_id})}))]) != locked:
        locked = found
    return found
