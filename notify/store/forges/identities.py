"""Maps logins to usernames, and counts what logins without a person missed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from json import dumps

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``verified_at`` None: nobody has confirmed it."""

    forge: str
    login: str
    username: str
    source: str
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmappedLogin:
    """A login without a person, and how many events would have concerned it."""

    forge: str
    login: str
    missed: int
    last_event_key: str
    first_at: datetime
    last_at: datetime


_PUT = """
    INSERT INTO notify.identities AS known (forge, login, username, source, verified_at)
    SELECT forge, login, username, source, verified_at FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(
        number int, forge text, login text, username text, source text, verified_at timestamptz
    ) ORDER BY forge, lower(login)
    ON CONFLICT (forge, lower(login)) DO UPDATE SET login = excluded.login, username = excluded.username,
        source = excluded.source, verified_at = coalesce(excluded.verified_at, known.verified_at)"""
_FORGET_UNMAPPED = """
    DELETE FROM notify.unmapped_logins AS missed USING notify.identities AS known
    WHERE known.forge = missed.forge AND lower(known.login) = missed.login"""
_REMOVE = "DELETE FROM notify.identities WHERE forge = %(forge)s AND lower(login) = lower(%(login)s)"
# A stored identity wins over a username with the same spelling.
_RESOLVE = """
    SELECT asked.login, coalesce(known.username, person.username) AS username
    FROM unnest(%(logins)s::text[]) AS asked(login)
    LEFT JOIN LATERAL (
        SELECT username FROM notify.identities WHERE forge = %(forge)s AND lower(login) = lower(asked.login) OFFSET 0
    ) AS known ON true
    LEFT JOIN LATERAL (
        SELECT username FROM notify.people
        WHERE %(by_login)s AND lower(normalize(username)) = lower(normalize(asked.login))
        ORDER BY username <> asked.login, username LIMIT 1
    ) AS person ON true
    WHERE coalesce(known.username, person.username) IS NOT NULL"""
_BY_EMAIL = "SELECT username FROM notify.people WHERE lower(email) = lower(%(email)s) ORDER BY username LIMIT 2"
_LIST = """
    SELECT forge, login, username, source, verified_at FROM notify.identities
    WHERE (%(forge)s::text IS NULL OR forge = %(forge)s) AND (%(username)s::text IS NULL OR username = %(username)s)
    ORDER BY forge, lower(login)"""
_MISS = """
    INSERT INTO notify.unmapped_logins AS known (forge, login, missed, last_event_key, first_at, last_at)
    SELECT %(forge)s, login, 1, %(key)s, %(at)s, %(at)s FROM unnest(%(logins)s::text[]) AS missed(login) ORDER BY login
    ON CONFLICT (forge, login) DO UPDATE
    SET missed = known.missed + 1, last_at = greatest(known.last_at, excluded.last_at),
        last_event_key = CASE WHEN excluded.last_at >= known.last_at THEN excluded.last_event_key
            ELSE known.last_event_key END
    WHERE %(is_new)s OR (excluded.last_at, excluded.last_event_key) > (known.last_at, known.last_event_key)"""
_UNMAPPED = """
    SELECT forge, login, missed, last_event_key, first_at, last_at FROM notify.unmapped_logins
    WHERE (%(forge)s::text IS NULL OR forge = %(forge)s) ORDER BY missed DESC, forge, login"""


def put(connection: Connection, identities: Sequence[Identity]) -> None:
    """Store identities; of two for one login the later wins. Deletes the counts of what these logins missed."""
    last = {(one.forge, one.login.lower()): one for one in identities}
    rows = [
        {**asdict(one), "verified_at": one.verified_at.isoformat() if one.verified_at else None}
        for one in last.values()
    ]
    connection.exec_driver_sql(_PUT, {"rows": dumps(rows)})
    connection.exec_driver_sql(_FORGET_UNMAPPED)


def remove(connection: Connection, forge: str, login: str) -> bool:
    """Delete an identity; False if there is none."""
    return connection.exec_driver_sql(_REMOVE, {"forge": forge, "login": login}).rowcount > 0


def listed(connection: Connection, *, forge: str | None = None, username: str | None = None) -> list[Identity]:
    """Identities by forge and login; None does not filter."""
    rows = connection.exec_driver_sql(_LIST, {"forge": forge, "username": username}).mappings()
    return [Identity(**row) for row in rows]


def resolve(connection: Connection, forge: str, logins: Iterable[str], *, by_login: bool) -> Mapping[str, str]:
    """
    The username of each login that belongs to a person. Case does not matter.

    Args:
        by_login: Whether a login that equals a username belongs to that person.
    """
    asked = {"forge": forge, "logins": sorted(set(logins)), "by_login": by_login}
    return {row.login: row.username for row in connection.exec_driver_sql(_RESOLVE, asked)}


def by_email(connection: Connection, email: str) -> str | None:
    """The username of the person with this address; None: there is none, or several have it."""
    found = connection.exec_driver_sql(_BY_EMAIL, {"email": email}).scalars().all()
    return found[0] if len(found) == 1 else None


def miss(
    connection: Connection, forge: str, logins: Iterable[str], *, event_key: str, at: datetime, is_new: bool = False
) -> None:
    """
    Count, once, an event that would have concerned these logins if they belonged to anybody.

    Args:
        at: When it happened.
        is_new: Whether the event was stored just now; an event that is not stored counts if it is later than the last.
    """
    missed = sorted({login.lower() for login in logins})
    if missed:
        values = {"forge": forge, "logins": missed, "key": event_key, "at": at, "is_new": is_new}
        connection.exec_driver_sql(_MISS, values)


def unmapped(connection: Connection, *, forge: str | None = None) -> list[UnmappedLogin]:
    """Logins without a person; those that missed most come first."""
    rows = connection.exec_driver_sql(_UNMAPPED, {"forge": forge}).mappings()
    return [UnmappedLogin(**row) for row in rows]
