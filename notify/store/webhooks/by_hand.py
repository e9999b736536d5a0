"""What operators do to webhook calls: make them now, or once more. Work items are locked first, as workers do."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import MOST_ATTEMPTS, TEST

_LOCK = f"""
    SELECT id FROM notify.work_items WHERE stage = '{WEBHOOKS}' AND id = ANY (%(ids)s::bigint[])
    ORDER BY id FOR UPDATE"""
# One that is being made at this moment is left to its worker; an existing item gets a fresh retry budget.
_RETRY = f"""
    WITH acted AS (
        UPDATE notify.webhook_calls AS call
        SET status = 'pending', finished_at = NULL, outcome_reason = NULL, retried_at = now()
        WHERE call.id = ANY (%(ids)s::bigint[]) AND call.status <> 'delivered' AND NOT EXISTS (
            SELECT FROM notify.work_items AS item
            WHERE item.stage = '{WEBHOOKS}' AND item.id = call.id AND item.lane + 0 = {Lane.LEASED:d}
        )
        RETURNING call.id, call.attempts
    ), due_now AS (
        INSERT INTO notify.work_items AS item (stage, id, lane, attempt, max_failures)
        SELECT '{WEBHOOKS}', id, {Lane.NORMAL:d}, attempts, {MOST_ATTEMPTS} FROM acted
        ON CONFLICT (stage, id) DO UPDATE SET due_at = now(), reason = NULL,
            lane = CASE WHEN item.lapses > 0 THEN {Lane.LAPSED:d} ELSE {Lane.NORMAL:d} END,
            max_failures = greatest(item.max_failures, item.failures + {MOST_ATTEMPTS})
    )
    SELECT id FROM acted"""
_CALL = f"""
    , due AS (
        INSERT INTO notify.work_items (stage, id, lane, max_failures)
        SELECT '{WEBHOOKS}', id, {Lane.NORMAL:d}, {MOST_ATTEMPTS} FROM made
    )
    SELECT id FROM made"""
_REPLAY = f"""
    WITH made AS (
        INSERT INTO notify.webhook_calls
            (endpoint_id, type, subject_id, outcome, why, replay_of, created_at, retried_at)
        SELECT endpoint_id, type, subject_id, outcome, why, id, created_at, now()
        FROM notify.webhook_calls WHERE id = ANY (%(ids)s::bigint[]) AND status <> 'pending' ORDER BY id
        RETURNING id
    ){_CALL}"""
_TEST = f"""
    WITH made AS (
        INSERT INTO notify.webhook_calls (endpoint_id, type, subject_id, outcome)
        SELECT id, '{TEST}', id, 'test' FROM notify.webhook_endpoints WHERE name = %(name)s
        RETURNING id
    ){_CALL}"""


def retry(connection: Connection, ids: Sequence[int]) -> list[int]:
    """
    Make these calls due now, under their webhook-ids; the ids of those for which that was possible.

    One that is delivered, or is being made at this moment, is left as it is. The caller rings for ``webhooks``.
    """
    connection.exec_driver_sql(_LOCK, {"ids": list(ids)})
    return sorted(connection.exec_driver_sql(_RETRY, {"ids": list(ids)}).scalars())


def replay(connection: Connection, ids: Sequence[int]) -> list[int]:
    """
    Tell the outcomes of these calls once more, under new webhook-ids; the ids of the new calls.

    One that is pending is not replayed. The caller rings for ``webhooks``.
    """
    return sorted(connection.exec_driver_sql(_REPLAY, {"ids": list(ids)}).scalars())


def test(connection: Connection, name: str) -> int | None:
    """Call this endpoint with the type ``endpoint.test``; the id of the call, None: there is no such endpoint."""
    id_: int | None = connection.exec_driver_sql(_TEST, {"name": name}).scalar()
    return id_
