"""
Publishing: what is wanted replaces what was wanted before, in the caller's transaction.

Decided: a publisher locks the target's row and never its work item, unless that is dead. A worker that renews its lease
    does not wait for an application's transaction, however long that is; one that records an outcome locks the row
    first, and so sees whether more was published meanwhile.
Decided: two statements. What a statement sees is from before it waited for a row, so that the second alone knows
    whether the item is still there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

from sqlalchemy import text

from notify.domain.claims import Lane
from notify.domain.stages import STATUSES
from notify.store.callers import Statement, Statements

MAX_FAILURES = 10
# Several updates within this time cost one call.
APPLIED_EVERY = "interval '1 second'"


@dataclass(frozen=True, slots=True)
class PublishReceipt:
    """The target's row, and the version that what was published has become."""

    id: int
    version: int


_GIVEN = """jsonb_to_recordset(CAST(CAST(:given AS text) AS jsonb)) AS given(
            number int, forge text, repository text, sha text, context text, kind text, state text, description text,
            target_url text, output jsonb
        )"""
_TARGET = "forge, lower(target), sha, context"
_IS_RUNNING = "kind = 'check_run' AND state <> 'queued'"
# clock_timestamp(), because in a long transaction now() is in the past: a check must not end before it began.
_PUT = text(f"""
    WITH named AS MATERIALIZED (
        SELECT given.*, coalesce((
            SELECT known.repository FROM notify.commit_statuses AS known
            WHERE known.sha = given.sha AND known.context = given.context AND known.forge = given.forge
                AND lower(given.repository) IN (lower(known.repository), lower(known.renamed_to))
            ORDER BY known.id LIMIT 1
        ), given.repository) AS target
        FROM {_GIVEN}
    ), newest AS MATERIALIZED (
        SELECT DISTINCT ON ({_TARGET}) *, count(*) OVER (PARTITION BY {_TARGET}) AS times
        FROM named ORDER BY {_TARGET}, number DESC
    ), put AS (
        INSERT INTO notify.commit_statuses AS known (
            forge, repository, sha, context, kind, state, description, target_url, output, wanted_version,
            started_at, completed_at
        )
        SELECT forge, target, sha, context, kind, state, description, target_url, nullif(output, 'null'), times,
            CASE WHEN {_IS_RUNNING} THEN clock_timestamp() END,
            CASE WHEN {_IS_RUNNING} AND state <> 'in_progress' THEN clock_timestamp() END
        FROM newest ORDER BY {_TARGET}
        ON CONFLICT (sha, context, forge, lower(repository)) DO UPDATE SET
            kind = excluded.kind, state = excluded.state, description = excluded.description,
            target_url = excluded.target_url, output = excluded.output,
            wanted_version = known.wanted_version + excluded.wanted_version, published_at = now(),
            status = 'pending', finished_at = NULL, outcome_reason = NULL,
            started_at = CASE
                WHEN excluded.started_at IS NULL THEN NULL
                WHEN excluded.state = 'in_progress' AND known.state <> 'in_progress' THEN clock_timestamp()
                ELSE coalesce(known.started_at, clock_timestamp())
            END,
            completed_at = CASE WHEN excluded.completed_at IS NOT NULL THEN clock_timestamp() END
        RETURNING id, wanted_version, forge, repository, sha, context
    )
    SELECT named.number, put.id, put.wanted_version FROM named JOIN put USING (forge, sha, context)
    WHERE lower(put.repository) = lower(named.target)""")
_DUE = text(f"""
    WITH revived AS (
        UPDATE notify.work_items
        SET lane = CASE WHEN lapses > 0 THEN {Lane.LAPSED:d} ELSE {Lane.NORMAL:d} END, due_at = now(), reason = NULL,
            max_failures = failures + {MAX_FAILURES}
        WHERE stage = '{STATUSES}' AND id = ANY (CAST(CAST(:ids AS text) AS bigint[])) AND lane = {Lane.DEAD:d}
    )
    INSERT INTO notify.work_items (stage, id, lane, attempt, due_at)
    SELECT '{STATUSES}', id, {Lane.NORMAL:d}, attempts, greatest(now(), applied_at + {APPLIED_EVERY})
    FROM notify.commit_statuses AS target WHERE id = ANY (CAST(CAST(:ids AS text) AS bigint[]))
        AND NOT EXISTS (SELECT FROM notify.work_items AS item WHERE item.stage = '{STATUSES}' AND item.id = target.id)
    ON CONFLICT (stage, id) DO NOTHING""")


def put(given: Sequence[Mapping[str, Any]]) -> Statements[list[PublishReceipt]]:
    """
    Store what is wanted and make it due; of several for one target the last counts. In the order of *given*.

    Args:
        given: Columns of ``commit_statuses``: forge, repository, sha, context, kind, state, description, target_url
            and output.
    """
    if not given:
        return []
    rows = [{**one, "number": number} for number, one in enumerate(given)]
    stored = yield Statement(_PUT, {"given": dumps(rows)})
    receipts = {number: PublishReceipt(id_, version) for number, id_, version in stored}
    yield from make_due({one.id for one in receipts.values()})
    return [receipts[number] for number in range(len(given))]


def make_due(ids: set[int]) -> Statements[None]:
    """Have these targets applied; the transaction has locked them. One that is due or leased stays so."""
    yield Statement(_DUE, {"ids": f"{{{','.join(map(str, sorted(ids)))}}}"})
