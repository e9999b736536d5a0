"""The mirror's forges and repositories: when each is swept next, and what went wrong the last time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from json import dumps

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.forge import Repository
from notify.domain.stages import RECONCILE


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRepository:
    """
    A repository to sweep; ``now`` is the database's clock when it was loaded.

    ``first_swept_at`` None: no sweep has been complete yet. Events from before the first one are never made.
    """

    id: int
    forge: str
    forge_id: int
    full_name: str
    first_swept_at: datetime | None
    swept_at: datetime | None
    etag: str | None
    pushed_at: datetime | None
    branches_read_at: datetime | None
    gone: bool
    now: datetime

    @property
    def may_have_commits(self) -> bool:
        """Whether anything may have been pushed since the branches were listed."""
        return self.pushed_at is None or self.pushed_at != self.branches_read_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryView:
    """A repository as people see it. ``age_seconds`` since the last complete sweep began; None: there was none."""

    forge: str
    full_name: str
    swept_at: datetime | None
    age_seconds: float | None
    fault: str | None
    fault_at: datetime | None
    gone: bool
    changes: int
    stale: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeState:
    """When a forge was last listed, its fault, and its pause; each None if there is none."""

    name: str
    listed_at: datetime | None = None
    fault: str | None = None
    paused_until: datetime | None = None


# A new repository is due for its first sweep at once.
_PUT = f"""
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(
            forge_id bigint, full_name text, pushed_at timestamptz
        )
    ), put AS (
        INSERT INTO notify.forge_repositories AS known (forge, forge_id, full_name, pushed_at)
        SELECT %(forge)s, forge_id, full_name, pushed_at FROM given ORDER BY forge_id
        ON CONFLICT (forge, forge_id) DO UPDATE
        SET full_name = excluded.full_name, pushed_at = coalesce(excluded.pushed_at, known.pushed_at), gone = false
        WHERE (known.full_name, known.gone) IS DISTINCT FROM (excluded.full_name, false)
            OR excluded.pushed_at > known.pushed_at OR known.pushed_at IS NULL AND excluded.pushed_at IS NOT NULL
        RETURNING id, forge_id
    ), to_do AS (
        INSERT INTO notify.work_items (stage, id, lane) SELECT '{RECONCILE}', id, {Lane.BULK:d} FROM put
        ON CONFLICT (stage, id) DO NOTHING
    )
    SELECT forge_id, id FROM put
    UNION ALL
    SELECT known.forge_id, known.id FROM notify.forge_repositories AS known JOIN given USING (forge_id)
    WHERE known.forge = %(forge)s AND NOT EXISTS (SELECT FROM put WHERE put.forge_id = known.forge_id)"""
_GONE = """
    UPDATE notify.forge_repositories SET gone = true
    WHERE forge = %(forge)s AND NOT gone AND forge_id <> ALL (%(seen)s::bigint[])"""
_NAMED_BEFORE = """
    SELECT first.forge FROM notify.forge_repositories AS mine JOIN notify.forge_repositories AS first
        ON first.forge = ANY (%(forges)s::text[]) AND lower(first.full_name) = lower(mine.full_name)
    WHERE mine.id = %(id)s AND first.id < mine.id AND NOT first.gone ORDER BY first.id LIMIT 1"""
_LOAD = """
    SELECT id, forge, forge_id, full_name, first_swept_at, swept_at, etag, pushed_at, branches_read_at, gone,
        now() AS now
    FROM notify.forge_repositories WHERE id = ANY (%(ids)s::bigint[])"""
_SWEPT = """
    UPDATE notify.forge_repositories SET first_swept_at = coalesce(first_swept_at, %(began)s), swept_at = %(began)s,
        etag = %(etag)s, branches_read_at = coalesce(%(pushed_at)s, branches_read_at),
        fault = NULL, fault_at = NULL
    WHERE id = %(id)s"""
_FAILED = """
    UPDATE notify.forge_repositories SET fault = left(%(fault)s, 250), fault_at = coalesce(fault_at, now())
    WHERE id = %(id)s"""
_DUE = f"""
    UPDATE notify.work_items SET due_at = now() WHERE stage = '{RECONCILE}' AND lane < {Lane.LEASED:d} AND id = ANY (
        SELECT id FROM notify.forge_repositories WHERE forge = %(forge)s
            AND (%(forge_id)s::bigint IS NULL OR forge_id = %(forge_id)s)
    )"""
# A repository's work item is never done, so its lapses must not add up over years.
_CLEAR_FAILURES = f"""
    UPDATE notify.work_items SET lane = {Lane.BULK:d}, lapses = 0, failures = 0, reason = NULL
    WHERE stage = '{RECONCILE}' AND id = %(id)s AND lapses + failures > 0"""
_TAKE_LISTING = """
    INSERT INTO notify.forges AS known (name, listed_from) VALUES (%(name)s, now() + %(every)s)
    ON CONFLICT (name) DO UPDATE SET listed_from = excluded.listed_from
    WHERE known.listed_from <= now() AND coalesce(known.paused_until, '-infinity') <= now()
    RETURNING name"""
_LISTING_DUE = """
    SELECT 1 FROM unnest(%(names)s::text[]) AS wanted(name) LEFT JOIN notify.forges AS known USING (name)
    WHERE coalesce(known.listed_from, '-infinity') <= now() AND coalesce(known.paused_until, '-infinity') <= now()
    LIMIT 1"""
_LIST_NOW = "UPDATE notify.forges SET listed_from = now() WHERE name = %(name)s"
_LISTED = """
    UPDATE notify.forges SET fault = left(%(fault)s, 250),
        fault_at = CASE WHEN %(fault)s::text IS NOT NULL THEN coalesce(fault_at, now()) END,
        listed_at = CASE WHEN %(fault)s::text IS NULL THEN now() ELSE listed_at END
    WHERE name = %(name)s"""
_STATES = "SELECT name, listed_at, fault, paused_until FROM notify.forges ORDER BY name"
_AGES = """
    SELECT forge, max(extract(epoch FROM now() - read_at))::float8 AS seconds FROM (
        SELECT forge, coalesce(swept_at, fault_at, now()) AS read_at FROM notify.forge_repositories WHERE NOT gone
        UNION ALL SELECT name, coalesce(listed_at, fault_at, now()) FROM notify.forges
    ) AS one WHERE forge = ANY (%(forges)s::text[]) GROUP BY forge"""
_VIEW = """
    SELECT known.forge, known.full_name, known.swept_at,
        extract(epoch FROM now() - known.swept_at)::float8 AS age_seconds, known.fault, known.fault_at, known.gone,
        (SELECT count(*) FROM notify.forge_changes AS change WHERE change.repository_id = known.id) AS changes,
        (SELECT count(*) FROM notify.forge_changes AS change WHERE change.repository_id = known.id AND stale) AS stale
    FROM notify.forge_repositories AS known
    WHERE %(forge)s::text IS NULL OR known.forge = %(forge)s ORDER BY known.forge, lower(known.full_name)"""
_NAMES = """
    SELECT name FROM notify.forges UNION SELECT forge FROM notify.forge_repositories
    UNION SELECT forge FROM notify.forge_entries ORDER BY 1"""
# Rows of repositories stay, because forge_actions refers to them and cannot be read again. They are locked first and
# the work items last, as in every transaction that writes a change.
_FORGET = """
    UPDATE notify.forge_repositories SET first_swept_at = NULL, swept_at = NULL, etag = NULL, branches_read_at = NULL,
        fault = NULL, fault_at = NULL
    WHERE forge = %(forge)s"""
_FORGET_MIRRORED = tuple(
    f"""
    DELETE FROM notify.{table} WHERE repository_id = ANY (
        ARRAY(SELECT id FROM notify.forge_repositories WHERE forge = %(forge)s)
    )"""
    for table in ("forge_changes", "forge_branches")
)
_FORGET_ENTRIES = "DELETE FROM notify.forge_entries WHERE forge = %(forge)s"
# A sweep that is running loses its lease, because the mirror that it read for is deleted.
_SWEEP_ANEW = f"""
    INSERT INTO notify.work_items AS item (stage, id, lane)
    SELECT '{RECONCILE}', id, {Lane.BULK:d} FROM notify.forge_repositories WHERE forge = %(forge)s AND NOT gone
    ON CONFLICT (stage, id) DO UPDATE SET lane = excluded.lane, due_at = now(), attempt = item.attempt + 1,
        failures = 0, lapses = 0"""


def put(connection: Connection, forge: str, repositories: Sequence[Repository]) -> dict[int, int]:
    """
    Store repositories under their present names. Returns the row ids by the forge's numbers.

    A listing may contain one twice, if others were added meanwhile: the later wins.
    """
    rows = [
        {
            "forge_id": one.id,
            "full_name": one.full_name,
            "pushed_at": one.pushed_at.isoformat() if one.pushed_at else None,
        }
        for one in {one.id: one for one in repositories}.values()
    ]
    return dict(connection.exec_driver_sql(_PUT, {"forge": forge, "rows": dumps(rows)}).cursor.fetchall())


def mark_gone(connection: Connection, forge: str, *, seen: Sequence[int]) -> None:
    """Mark all but these repositories as gone, after a complete listing."""
    connection.exec_driver_sql(_GONE, {"forge": forge, "seen": list(seen)})


def load(connection: Connection, ids: Sequence[int]) -> dict[int, KnownRepository]:
    """Repositories by row id."""
    return {
        row["id"]: KnownRepository(**row) for row in connection.exec_driver_sql(_LOAD, {"ids": list(ids)}).mappings()
    }


def named_before(connection: Connection, id_: int, forges: Sequence[str]) -> str | None:
    """Which of these forges had a repository of the same name before this one was known; None: none has."""
    return connection.exec_driver_sql(_NAMED_BEFORE, {"id": id_, "forges": list(forges)}).scalar()


def swept(connection: Connection, repository: KnownRepository, *, etag: str | None) -> None:
    """Store that a sweep, begun when the repository was loaded, was complete."""
    values = {"id": repository.id, "began": repository.now, "etag": etag, "pushed_at": repository.pushed_at}
    connection.exec_driver_sql(_SWEPT, values)


def failed(connection: Connection, id_: int, fault: str) -> None:
    """Store why a sweep was not complete."""
    connection.exec_driver_sql(_FAILED, {"id": id_, "fault": fault})


def clear_failures(connection: Connection, id_: int) -> None:
    """Forget the lapses and failures before a sweep that went well and has just been settled."""
    connection.exec_driver_sql(_CLEAR_FAILURES, {"id": id_})


def make_due(connection: Connection, forge: str, *, forge_id: int | None = None) -> int:
    """Make this repository, or all of the forge, due for a sweep now. Returns how many."""
    return connection.exec_driver_sql(_DUE, {"forge": forge, "forge_id": forge_id}).rowcount


def take_listing(connection: Connection, forge: str, *, every: timedelta) -> bool:
    """Reserve the listing of a forge's repositories for this process; False: it is not due, or the forge is paused."""
    return connection.exec_driver_sql(_TAKE_LISTING, {"name": forge, "every": every}).first() is not None


def list_now(connection: Connection, forge: str) -> None:
    """Make the listing of a forge's repositories due now."""
    connection.exec_driver_sql(_LIST_NOW, {"name": forge})


def is_listing_due(connection: Connection, forges: Sequence[str]) -> bool:
    """Whether the listing of any of these forges is due."""
    return connection.exec_driver_sql(_LISTING_DUE, {"names": list(forges)}).first() is not None


def listed(connection: Connection, forge: str, *, fault: str | None) -> None:
    """Store that a listing was complete, or why not."""
    connection.exec_driver_sql(_LISTED, {"name": forge, "fault": fault})


def states(connection: Connection) -> list[ForgeState]:
    """All forges that were ever listed or paused."""
    return [ForgeState(**row) for row in connection.exec_driver_sql(_STATES).mappings()]


def views(connection: Connection, forge: str | None = None) -> list[RepositoryView]:
    """Repositories by forge and name; None: of every forge."""
    return [RepositoryView(**row) for row in connection.exec_driver_sql(_VIEW, {"forge": forge}).mappings()]


def sync_ages(connection: Connection, forges: Sequence[str]) -> dict[str, float]:
    """
    Seconds since the least recent complete reading of these forges' repositories, or of their list.

    Repositories that are gone do not count. What was never read completely counts from its first fault.
    """
    return dict(connection.exec_driver_sql(_AGES, {"forges": list(forges)}).cursor.fetchall())


def names(connection: Connection) -> list[str]:
    """All forges with anything stored, whether configured today or not."""
    return list(connection.exec_driver_sql(_NAMES).scalars())


def forget(connection: Connection, forge: str) -> int:
    """
    Delete the mirror of a forge and make the sweeps due that rebuild it. Returns how many repositories it had.

    Repositories become as if they had never been swept. Actions of our app stay.
    """
    asked = {"forge": forge}
    found = connection.exec_driver_sql(_FORGET, asked).rowcount
    for statement in (*_FORGET_MIRRORED, _FORGET_ENTRIES, _SWEEP_ANEW):
        connection.exec_driver_sql(statement, asked)
    return found
