"""What people ask of statuses: list them, newest first, show one with its attempts, count them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping

from notify.domain.claims import WAITING, Lane
from notify.domain.stages import STATUSES
from notify.domain.statuses import TargetStatus

NEWEST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFilter:
    """
    The targets to which everything that is given applies; nothing given means all.

    ``repository`` is today's or an earlier name, in any case; ``reason`` is why it ended so, up to a colon.
    """

    forge: str | None = None
    repository: str | None = None
    sha: str | None = None
    context: str | None = None
    status: TargetStatus | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """
    A target, for people.

    ``repository`` is today's name; ``outcome_reason`` and the like are None as in the table; ``failures`` counts
    attempts that failed and are repeated; ``due_at`` None: it is at its end.
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
    status: TargetStatus
    wanted_version: int
    applied_version: int
    applied_state: str | None
    outcome_reason: str | None
    last_code: int | None
    last_error: str | None
    remote_id: int | None
    replaced: int
    attempts: int
    failures: int
    due_at: datetime | None
    created_at: datetime
    published_at: datetime
    applied_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """An attempt that did not end in applied; all None as in ``status_attempts``."""

    attempt: int
    version: int
    at: datetime
    outcome: str
    request: str | None
    code: int | None
    text: str | None
    took_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCounts:
    """Of the ``NEWEST`` targets: how many have each status, and how many of their versions were never shown."""

    by_status: Mapping[str, int]
    replaced: int


_VIEW = f"""
    SELECT target.id, forge, coalesce(renamed_to, repository) AS repository, sha, context, kind, state, description,
        target_url, status, wanted_version, applied_version, applied_state, outcome_reason, last_code, last_error,
        remote_id, replaced, greatest(attempts, item.attempt) AS attempts, coalesce(item.failures, 0) AS failures,
        CASE WHEN status = 'pending' THEN item.due_at END AS due_at, created_at, published_at, applied_at, finished_at
    FROM notify.commit_statuses AS target
    LEFT JOIN notify.work_items AS item ON item.stage = '{STATUSES}' AND item.id = target.id"""
# In the words of work_items_due: with others the planner cannot know that it may use the index.
_IN_LANES = f"""target.id = ANY (ARRAY(
        SELECT known.id FROM notify.work_items AS known
        WHERE known.stage || '' = '{STATUSES}' AND known.lane >= 0 AND known.lane = ANY (%(lanes)s::smallint[])
    ))"""
_LANES = {
    TargetStatus.PENDING: (*WAITING, Lane.LAPSED, Lane.LEASED),
    TargetStatus.DEAD: (Lane.DEAD,),
}
_CONDITIONS = {
    "forge": "target.forge = %(forge)s",
    "repository": "lower(%(repository)s) IN (lower(target.repository), lower(target.renamed_to))",
    "sha": "target.sha = %(sha)s",
    "context": "target.context = %(context)s",
    "status": "target.status = %(status)s",
    "reason": "split_part(target.outcome_reason, ':', 1) = %(reason)s",
}
_ATTEMPTS = """
    SELECT attempt, version, at, outcome, request, code, text, took_ms FROM notify.status_attempts
    WHERE status_id = %(id)s ORDER BY id"""
_OUTPUT = "SELECT output FROM notify.commit_statuses WHERE id = %(id)s"
_COUNTED = f"""
    SELECT status, count(*), sum(replaced) FROM (
        SELECT status, replaced FROM notify.commit_statuses ORDER BY id DESC LIMIT {NEWEST}
    ) AS newest GROUP BY status"""


def newest(
    connection: Connection, wanted: StatusFilter, *, below: int | None = None, limit: int
) -> Sequence[StatusView]:
    """The newest *limit* of these targets with an id below *below*, newest first."""
    asked = {name: getattr(wanted, name) for name in _CONDITIONS}
    conditions = [sql for name, sql in _CONDITIONS.items() if asked[name] is not None]
    lanes = _LANES.get(wanted.status, ()) if wanted.status else ()
    conditions += [_IN_LANES] if lanes else []
    conditions += ["target.id < %(below)s"] if below is not None else []
    statement = f"{_VIEW} WHERE {' AND '.join(['true', *conditions])} ORDER BY target.id DESC LIMIT %(limit)s"
    values = {**asked, "lanes": list(map(int, lanes)), "below": below, "limit": limit}
    return [_viewed(row) for row in connection.exec_driver_sql(statement, values).mappings()]


def views(connection: Connection, ids: Sequence[int]) -> dict[int, StatusView]:
    """Those of these targets that there are, by id."""
    statement = f"{_VIEW} WHERE target.id = ANY (%(ids)s::bigint[])"
    rows = connection.exec_driver_sql(statement, {"ids": list(ids)}).mappings()
    return {row["id"]: _viewed(row) for row in rows}


def view(connection: Connection, id_: int) -> StatusView | None:
    """One target; None if there is none."""
    return views(connection, [id_]).get(id_)


def output_of(connection: Connection, id_: int) -> Mapping[str, Any] | None:
    """What a check run is to say; None: nothing, or there is no such target."""
    found: Mapping[str, Any] | None = connection.exec_driver_sql(_OUTPUT, {"id": id_}).scalar()
    return found


def attempts_of(connection: Connection, id_: int) -> Sequence[AttemptView]:
    """The attempts at a target that did not end in applied, oldest first."""
    return [AttemptView(**row) for row in connection.exec_driver_sql(_ATTEMPTS, {"id": id_}).mappings()]


def counted(connection: Connection) -> StatusCounts:
    """How many targets have each status; one that none has is absent."""
    rows = connection.exec_driver_sql(_COUNTED).cursor.fetchall()
    return StatusCounts(
        by_status={status: count for status, count, _ in rows}, replaced=sum(int(replaced) for *_, replaced in rows)
    )


def _viewed(row: RowMapping) -> StatusView:
    return StatusView(**{**row, "status": TargetStatus(row["status"])})
