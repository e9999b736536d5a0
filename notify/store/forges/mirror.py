"""
The mirror of changes, reviewers, branches and entries.

Decided: an older answer never overwrites a newer one. Answers are ordered by the forge's own ``updated_at``, and
    within the same second by when the forge was asked.
Decided: a transaction that writes a change takes an advisory lock for it, so that no event is made twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from json import dumps
from typing import Any

from sqlalchemy import Connection

from notify.domain.forge import Branch, Reviewer

# Pull requests in an entry's own repository belong to it while it has this state, or none.
ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownReviewer:
    """``told_at``: requests up to this instant, by the forge's clock, have become events; None: none has."""

    login: str
    requested: bool
    told_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownChange:
    """A change as the mirror has it; reviewers by login in lower case."""

    link: str
    state: str
    head_sha: str | None
    draft: bool
    author: str
    stale: bool
    forge_updated_at: datetime
    reviewers: Mapping[str, KnownReviewer]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """A row to write. None keeps the stored head, base or merge commit. ``synced_at`` None: from a webhook alone."""

    repository_id: int
    number: int
    link: str
    title: str
    description: str
    url: str
    state: str
    draft: bool
    opener: str
    author: str
    author_from: str
    head_ref: str | None
    head_sha: str | None
    base_ref: str | None
    base_sha: str | None
    merge_sha: str | None
    opened_at: datetime
    forge_updated_at: datetime
    synced_at: datetime | None
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file with front matter; None: not stated."""

    slug: str
    path: str
    sha: str
    title: str | None = None
    state: str | None = None
    entry_id: str | None = None
    repo: str | None = None
    proposed_by: str | None = None
    proposed_at: str | None = None
    graduated_by: str | None = None
    graduated_at: str | None = None
    owners: tuple[str, ...] = ()
    arbiters: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('notify change ' || %(repository_id)s || '#' || %(number)s, 0))"
_KNOWN = """
    SELECT link, state, head_sha, draft, author, stale, forge_updated_at FROM notify.forge_changes
    WHERE repository_id = %(repository_id)s AND number = %(number)s"""
_KNOWN_REVIEWERS = """
    SELECT login, requested, told_at FROM notify.forge_reviewers
    WHERE repository_id = %(repository_id)s AND number = %(number)s"""
_STALE = "SELECT number FROM notify.forge_changes WHERE repository_id = %(id)s AND stale ORDER BY number"
_COLUMNS = tuple(ChangeRow.__slots__)
_KEPT_WHEN_NULL = ("head_ref", "head_sha", "base_ref", "base_sha", "merge_sha", "synced_at")
_NEWER = """(excluded.forge_updated_at, coalesce(excluded.synced_at, '-infinity'))
            >= (known.forge_updated_at, coalesce(known.synced_at, '-infinity'))"""


def _set(column: str) -> str:
    if column in _KEPT_WHEN_NULL:
        return f"{column} = coalesce(excluded.{column}, known.{column})"
    if column == "state":
        return "state = CASE WHEN known.state = 'merged' THEN 'merged' ELSE excluded.state END"
    return f"{column} = excluded.{column}"


# The link never changes, because threads in mailboxes are named after it; nor does the instant it was opened.
_CHANGING = tuple(name for name in _COLUMNS if name not in ("repository_id", "number", "link", "opener", "opened_at"))
_SEEN = ("synced_at", "stale")
_PUT = f"""
    INSERT INTO notify.forge_changes AS known ({", ".join(_COLUMNS)})
    VALUES ({", ".join(f"%({name})s" for name in _COLUMNS)})
    ON CONFLICT (repository_id, number) DO UPDATE SET {", ".join(map(_set, _CHANGING))},
        updated_at = CASE WHEN ({", ".join(f"known.{name}" for name in _CHANGING if name not in _SEEN)})
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _CHANGING if name not in _SEEN)})
            THEN now() ELSE known.updated_at END
    WHERE {_NEWER}
    RETURNING state"""
_MARK_STALE = """
    UPDATE notify.forge_changes SET stale = true
    WHERE repository_id = %(repository_id)s AND number = %(number)s AND NOT stale"""
_PUT_REVIEWERS = """
    WITH given AS MATERIALIZED (
        SELECT DISTINCT ON (lower(login)) * FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(
            login text, requested boolean, verdict text, team text
        ) ORDER BY lower(login), requested DESC
    ), gone AS (
        UPDATE notify.forge_reviewers AS known SET requested = false, removed = true
        WHERE known.repository_id = %(repository_id)s AND known.number = %(number)s AND known.requested
            AND lower(known.login) NOT IN (SELECT lower(login) FROM given)
    )
    INSERT INTO notify.forge_reviewers AS known (repository_id, number, login, requested, verdict, team)
    SELECT %(repository_id)s, %(number)s, coalesce(
        (SELECT old.login FROM notify.forge_reviewers AS old WHERE old.repository_id = %(repository_id)s
            AND old.number = %(number)s AND lower(old.login) = lower(given.login) LIMIT 1), login
    ), requested, verdict, team FROM given
    ON CONFLICT (repository_id, number, login) DO UPDATE SET requested = excluded.requested, removed = false,
        verdict = coalesce(excluded.verdict, known.verdict), team = excluded.team"""
_TOLD = """
    INSERT INTO notify.forge_reviewers AS known (repository_id, number, login, requested, told_at)
    SELECT %(repository_id)s, %(number)s, login, false, %(at)s FROM unnest(%(logins)s::text[]) AS given(login)
    ON CONFLICT (repository_id, number, login) DO UPDATE SET told_at = greatest(known.told_at, excluded.told_at)"""
_PUT_BRANCHES = """
    INSERT INTO notify.forge_branches AS known (repository_id, name, head_sha, state, synced_at)
    SELECT %(repository_id)s, name, sha, 'open', %(at)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(name text, sha text) ORDER BY name
    ON CONFLICT (repository_id, name) DO UPDATE SET head_sha = excluded.head_sha, synced_at = excluded.synced_at,
        state = CASE known.state WHEN 'closed' THEN 'closed' ELSE 'open' END,
        updated_at = CASE WHEN known.head_sha <> excluded.head_sha OR known.state = 'deleted' THEN now()
            ELSE known.updated_at END
    WHERE known.synced_at <= excluded.synced_at"""
_DELETE_BRANCHES = """
    UPDATE notify.forge_branches SET state = 'deleted', updated_at = now()
    WHERE repository_id = %(repository_id)s AND state <> 'deleted' AND synced_at < %(at)s"""
_OF_ENTRY = tuple(name for name in Entry.__slots__ if name != "slug")
_KINDS = {"owners": "text[]", "arbiters": "text[]", "tags": "text[]"}
_PUT_ENTRIES = f"""
    INSERT INTO notify.forge_entries AS known (forge, slug, {", ".join(_OF_ENTRY)}, gone, synced_at)
    SELECT %(forge)s, slug, {", ".join(_OF_ENTRY)}, false, %(at)s FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(
        slug text, {", ".join(f"{name} {_KINDS.get(name, 'text')}" for name in _OF_ENTRY)}
    ) ORDER BY slug
    ON CONFLICT (forge, slug) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _OF_ENTRY)},
        gone = false, synced_at = excluded.synced_at,
        updated_at = CASE WHEN ({", ".join(f"known.{name}" for name in _OF_ENTRY)}, known.gone)
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _OF_ENTRY)}, false)
            THEN now() ELSE known.updated_at END
    WHERE known.gone OR known.path <> ALL (%(unchanged)s::text[])"""
# A file whose slug changed has two rows; the other one has its present content.
_SEEN_ENTRIES = """
    UPDATE notify.forge_entries AS known SET synced_at = %(at)s
    WHERE forge = %(forge)s AND path = ANY (%(paths)s::text[]) AND NOT EXISTS (
        SELECT FROM notify.forge_entries AS put WHERE put.forge = known.forge AND put.path = known.path
            AND put.slug <> known.slug AND put.synced_at = %(at)s
    )"""
_ENTRIES_GONE = """
    UPDATE notify.forge_entries SET gone = true, updated_at = now()
    WHERE forge = %(forge)s AND NOT gone AND synced_at < %(at)s"""
_ENTRY_FILES = "SELECT path, sha FROM notify.forge_entries WHERE forge = %(forge)s AND NOT gone"
# In the entries' own repository a branch names the entry; elsewhere an active entry names the repository.
_ENTRY_PEOPLE = f"""
    SELECT owners || arbiters FROM notify.forge_entries
    WHERE forge = %(forge)s AND NOT gone AND (
        slug = %(slug)s OR lower(repo) = lower(%(repo)s) AND lower(coalesce(state, '{ACTIVE}')) = '{ACTIVE}'
    )"""
_OLDEST_ACTION = """
    SELECT on_behalf_of FROM notify.forge_actions
    WHERE repository_id = %(repository_id)s AND number = %(number)s ORDER BY id LIMIT 1"""
_ACT = """
    INSERT INTO notify.forge_actions (repository_id, number, action, on_behalf_of)
    SELECT id, %(number)s, %(action)s, %(on_behalf_of)s FROM notify.forge_repositories
    WHERE forge = %(forge)s AND lower(full_name) = lower(%(full_name)s)"""


def lock(connection: Connection, repository_id: int, number: int) -> KnownChange | None:
    """Lock a change until the transaction ends. Returns what is known of it; None: nothing."""
    named = {"repository_id": repository_id, "number": number}
    connection.exec_driver_sql(_LOCK, {name: str(value) for name, value in named.items()})
    row = connection.exec_driver_sql(_KNOWN, named).mappings().first()
    if row is None:
        return None
    reviewers = [KnownReviewer(**one) for one in connection.exec_driver_sql(_KNOWN_REVIEWERS, named).mappings()]
    return KnownChange(**row, reviewers={one.login.lower(): one for one in reviewers})


def stale(connection: Connection, repository_id: int) -> list[int]:
    """The numbers of the changes that must be read again."""
    return list(connection.exec_driver_sql(_STALE, {"id": repository_id}).scalars())


def put_change(connection: Connection, row: ChangeRow) -> str | None:
    """Write a change. Returns its new state; None, and nothing is written, if the mirror has a newer one."""
    return connection.exec_driver_sql(_PUT, asdict(row)).scalar()


def mark_stale(connection: Connection, repository_id: int, number: int) -> None:
    """Mark a change for the next sweep, because the forge did not answer."""
    connection.exec_driver_sql(_MARK_STALE, {"repository_id": repository_id, "number": number})


def put_reviewers(connection: Connection, repository_id: int, number: int, reviewers: Iterable[Reviewer]) -> None:
    """Replace the reviewers. Requested reviewers that are missing are marked as removed."""
    rows = [asdict(one) for one in reviewers]
    connection.exec_driver_sql(_PUT_REVIEWERS, {"repository_id": repository_id, "number": number, "rows": dumps(rows)})


def note_told(connection: Connection, repository_id: int, number: int, logins: Sequence[str], at: datetime) -> None:
    """Store that requests for these reviews, up to this instant of the forge, have become events."""
    values = {"repository_id": repository_id, "number": number, "logins": list(logins), "at": at}
    connection.exec_driver_sql(_TOLD, values)


def put_branches(connection: Connection, repository_id: int, branches: Sequence[Branch], at: datetime) -> None:
    """
    Store branches from a listing that began at this instant.

    A listing may contain one twice, if others were added meanwhile: the later wins.
    """
    rows = [asdict(one) for one in {one.name: one for one in branches}.values()]
    values = {"repository_id": repository_id, "rows": dumps(rows), "at": at}
    connection.exec_driver_sql(_PUT_BRANCHES, values)


def delete_unseen_branches(connection: Connection, repository_id: int, at: datetime) -> None:
    """Mark branches as deleted that a complete listing, begun at this instant, did not contain."""
    connection.exec_driver_sql(_DELETE_BRANCHES, {"repository_id": repository_id, "at": at})


def entry_files(connection: Connection, forge: str) -> dict[str, str]:
    """The ``sha`` of each file whose text is known, by path."""
    return dict(connection.exec_driver_sql(_ENTRY_FILES, {"forge": forge}).cursor.fetchall())


def put_entries(
    connection: Connection, forge: str, entries: Sequence[Entry], *, seen: Sequence[str], at: datetime
) -> None:
    """
    Store a complete reading of the folder that began at this instant; *entries* are the changed ones.

    If two files state a slug, the first one keeps it. A file that can no longer be read keeps its entry.
    """
    values: dict[str, Any] = {"forge": forge, "at": at}
    unchanged = sorted({*seen} - {one.path for one in entries})
    rows = dumps([asdict(one) for one in entries])
    connection.exec_driver_sql(_PUT_ENTRIES, {**values, "rows": rows, "unchanged": unchanged})
    connection.exec_driver_sql(_SEEN_ENTRIES, {**values, "paths": list(seen)})
    connection.exec_driver_sql(_ENTRIES_GONE, values)


def entry_people(connection: Connection, forge: str, *, slug: str | None, repo: str | None) -> list[str]:
    """Logins of owners and arbiters of the entry with this slug, and of the active entries whose own *repo* it is."""
    rows = connection.exec_driver_sql(_ENTRY_PEOPLE, {"forge": forge, "slug": slug, "repo": repo}).scalars()
    return sorted({login for logins in rows for login in logins})


def oldest_action(connection: Connection, repository_id: int, number: int) -> str | None:
    """The login for which our app first acted on this change; None: it never did."""
    named = {"repository_id": repository_id, "number": number}
    return connection.exec_driver_sql(_OLDEST_ACTION, named).scalar()


def note_action(
    connection: Connection, forge: str, full_name: str, number: int, *, action: str, on_behalf_of: str
) -> None:
    """Store that our app acted on a change for this login. Does nothing if the repository is unknown."""
    values = {"forge": forge, "full_name": full_name, "number": number}
    connection.exec_driver_sql(_ACT, {**values, "action": action, "on_behalf_of": on_behalf_of})
