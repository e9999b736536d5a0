"""Applying: what a target wants now, and what became of an attempt, recorded set by set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from json import dumps
from typing import Any

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.stages import STATUSES
from notify.domain.status_outcomes import StatusOutcome
from notify.store.callers import run
from notify.store.statuses import publishing

LOCK_TIMEOUT = "2s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a target wants now.

    ``repository`` is today's name as far as it is known; ``version`` is the one that is wanted; ``attempts`` were
    recorded. The rest as in the table.
    """

    id: int
    forge: str
    repository: str
    sha: str
    context: str
    kind: str
    state: str
    description: str | None
    target_url: str | None
    output: Mapping[str, Any] | None
    version: int
    remote_id: int | None
    attempts: int
    labelled: bool
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """
    What became of an attempt to apply *version*.

    Args:
        is_final: The target is at its end, because nothing newer is wanted.
        repository: Today's name; None: not known.
        labelled: Whether the pull request has the error label now; None: as before.
        code: HTTP status; None: no answer, or not of interest.
    """

    id: int
    attempt: int
    version: int
    outcome: StatusOutcome
    is_final: bool
    state: str
    reason: str | None = None
    remote_id: int | None = None
    repository: str | None = None
    labelled: bool | None = None
    request: str | None = None
    code: int | None = None
    text: str | None = None
    took_ms: int | None = None


_LOAD = """
    SELECT id, forge, coalesce(renamed_to, repository) AS repository, sha, context, kind, state, description,
        target_url, output, wanted_version AS version, remote_id, attempts, labelled, started_at, completed_at
    FROM notify.commit_statuses WHERE id = ANY (%(ids)s::bigint[])"""
_LOCK = """
    SELECT id, wanted_version FROM notify.commit_statuses WHERE id = ANY (%(ids)s::bigint[])
    ORDER BY id FOR NO KEY UPDATE"""
_GIVEN = """jsonb_to_recordset(%(given)s::jsonb) AS given(
            id bigint, attempt int, version int, outcome text, is_final bool, state text, reason text, remote_id bigint,
            repository text, labelled bool, request text, code smallint, text text, took_ms int
        )"""
_RECORD = f"""
    WITH given AS MATERIALIZED (
        SELECT *, outcome = 'applied' AS is_applied FROM {_GIVEN}
    ), noted AS (
        INSERT INTO notify.status_attempts (status_id, attempt, version, outcome, request, code, text, took_ms)
        SELECT id, attempt, version, outcome || coalesce(': ' || reason, ''), request, code, text, took_ms
        FROM given WHERE NOT is_applied ORDER BY id
    )
    UPDATE notify.commit_statuses AS target SET
        attempts = greatest(target.attempts, given.attempt),
        applied_version = CASE WHEN is_applied THEN given.version ELSE target.applied_version END,
        applied_state = CASE WHEN is_applied THEN given.state ELSE target.applied_state END,
        applied_at = CASE WHEN is_applied THEN now() ELSE target.applied_at END,
        replaced = target.replaced
            + CASE WHEN is_applied THEN greatest(given.version - target.applied_version - 1, 0) ELSE 0 END,
        remote_id = coalesce(given.remote_id, target.remote_id),
        renamed_to = CASE
            WHEN given.repository <> coalesce(target.renamed_to, target.repository) THEN given.repository
            ELSE target.renamed_to
        END,
        labelled = coalesce(given.labelled, target.labelled),
        status = CASE WHEN is_final THEN outcome ELSE 'pending' END,
        finished_at = CASE WHEN is_final THEN now() END,
        outcome_reason = given.reason, last_code = given.code, last_error = given.text
    FROM given WHERE target.id = given.id"""
_RECORD_LATE = f"""
    UPDATE notify.commit_statuses AS target SET
        remote_id = coalesce(target.remote_id, given.remote_id),
        applied_version = least(target.applied_version, given.version), applied_state = given.state,
        status = CASE WHEN target.status = 'applied' THEN 'pending' ELSE target.status END,
        finished_at = CASE WHEN target.status <> 'applied' THEN target.finished_at END
    FROM {_GIVEN}
    WHERE target.id = given.id AND target.applied_version > given.version
    RETURNING target.id, target.status"""
_BURY = f"""
    WITH free AS MATERIALIZED (
        SELECT id FROM notify.commit_statuses WHERE id = ANY (%(ids)s::bigint[])
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ), again AS (
        UPDATE notify.work_items AS item SET due_at = now() + interval '1 second',
            lane = CASE WHEN item.lapses > 0 THEN {Lane.LAPSED:d} ELSE {Lane.NORMAL:d} END,
            max_failures = greatest(item.max_failures, item.failures + 1)
        WHERE item.stage = '{STATUSES}' AND item.id = ANY (%(ids)s::bigint[]) AND item.id NOT IN (SELECT id FROM free)
    )
    UPDATE notify.commit_statuses AS target
    SET status = 'dead', finished_at = now(), outcome_reason = coalesce(left(item.reason, 250), 'unknown'),
        attempts = greatest(target.attempts, item.attempt)
    FROM notify.work_items AS item
    WHERE item.stage = '{STATUSES}' AND item.id = target.id AND target.id IN (SELECT id FROM free)
    RETURNING target.id, target.outcome_reason"""


def load(connection: Connection, ids: Sequence[int]) -> dict[int, Target]:
    """What these targets want now, by id."""
    rows = connection.exec_driver_sql(_LOAD, {"ids": list(ids)}).mappings()
    return {row["id"]: Target(**row) for row in rows}


def lock(connection: Connection, ids: Sequence[int], *, wait: bool = False) -> dict[int, int]:
    """
    Lock targets until the transaction ends; the versions that they want, by id. Comes before settling their items.

    Args:
        wait: Up to two seconds for a publisher's transaction to end; else targets that it has locked are left out.

    Raises:
        OperationalError: It has not ended.
    """
    if wait:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    found = connection.exec_driver_sql(_LOCK if wait else f"{_LOCK} SKIP LOCKED", {"ids": list(ids)})
    return dict(found.cursor.fetchall())


def record(connection: Connection, results: Sequence[AttemptResult]) -> None:
    """Record the results of attempts whose lease was still theirs."""
    if results:
        connection.exec_driver_sql(_RECORD, {"given": _given(results)})


def record_late(connection: Connection, results: Sequence[AttemptResult]) -> None:
    """
    Record what was applied after the lease was lost.

    If a newer version had been applied, the forge may show the older one now: the target is due again.
    """
    if not results:
        return
    rows = connection.exec_driver_sql(_RECORD_LATE, {"given": _given(results)}).mappings()
    if overwritten := {row["id"] for row in rows if row["status"] == "pending"}:
        run(connection, publishing.make_due(overwritten))


def bury(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """
    These targets are dead; ``work_items`` says why. Returns those that are, and why.

    Where more is just being published, the item is tried once more, by itself.
    """
    return dict(connection.exec_driver_sql(_BURY, {"ids": list(ids)}).cursor.fetchall())


def _given(results: Sequence[AttemptResult]) -> str:
    return dumps([asdict(one) for one in results])
