"""What operators do to statuses: have them shown again, or not at all."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.stages import STATUSES
from notify.store.callers import run
from notify.store.statuses import publishing

BY_HAND = "by_hand"

# What failed stays in status_attempts. One that is being applied at this moment is left to its worker.
_RETRY = f"""
    WITH chosen AS MATERIALIZED (
        SELECT id FROM notify.commit_statuses WHERE id = ANY (%(ids)s::bigint[]) AND status <> 'applied'
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE notify.commit_statuses AS target SET status = 'pending', finished_at = NULL, outcome_reason = NULL
    FROM chosen WHERE target.id = chosen.id AND NOT EXISTS (
        SELECT FROM notify.work_items AS item
        WHERE item.stage = '{STATUSES}' AND item.id = target.id AND item.lane + 0 = {Lane.LEASED:d}
    )
    RETURNING target.id"""
_AT_ONCE = f"""
    UPDATE notify.work_items SET due_at = now()
    WHERE stage = '{STATUSES}' AND id = ANY (%(ids)s::bigint[]) AND lane < {Lane.LEASED:d}"""
_LOCK = """
    SELECT id FROM notify.commit_statuses WHERE id = ANY (%(ids)s::bigint[]) AND status = 'pending'
    ORDER BY id FOR NO KEY UPDATE"""
_CANCEL = f"""
    WITH gone AS (
        DELETE FROM notify.work_items WHERE stage = '{STATUSES}' AND id = ANY (%(ids)s::bigint[])
        RETURNING id, attempt
    )
    UPDATE notify.commit_statuses AS target
    SET status = 'cancelled', finished_at = now(), outcome_reason = '{BY_HAND}',
        attempts = greatest(target.attempts, gone.attempt)
    FROM unnest(%(ids)s::bigint[]) AS chosen(id) LEFT JOIN gone ON gone.id = chosen.id WHERE target.id = chosen.id
    RETURNING target.id"""


def retry(connection: Connection, ids: Sequence[int]) -> list[int]:
    """
    Make these targets due now, those that are at their end too; the ids of those for which that was possible.

    One that is applied, or is being applied at this moment, is left as it is. The caller rings for ``statuses``.
    """
    revived = sorted(connection.exec_driver_sql(_RETRY, {"ids": list(ids)}).scalars())
    if revived:
        run(connection, publishing.make_due(set(revived)))
        connection.exec_driver_sql(_AT_ONCE, {"ids": revived})
    return revived


def cancel(connection: Connection, ids: Sequence[int]) -> list[int]:
    """
    Do not show what these targets want; the ids of those that were pending.

    One that is being applied at this moment may still be shown. Publishing to it begins anew.
    """
    pending = list(connection.exec_driver_sql(_LOCK, {"ids": list(ids)}).scalars())
    return sorted(connection.exec_driver_sql(_CANCEL, {"ids": pending}).scalars()) if pending else []
