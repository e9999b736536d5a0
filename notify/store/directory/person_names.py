"""The names of a person: username, addresses, and logins on forges."""

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from re import escape
from urllib.parse import quote

from sqlalchemy import Connection

FIRST_BEYOND_ASCII = 0x80
BACKSLASH = "\\"

# A login without an identity is the person's who has it as a username.
_LOGINS = """
    WITH known AS (
        SELECT name AS forge FROM notify.forges UNION SELECT forge FROM notify.forge_repositories
        UNION SELECT forge FROM notify.forge_entries UNION SELECT forge FROM notify.webhook_deliveries
    )
    SELECT forge, lower(login) AS login FROM notify.identities WHERE username = %(username)s
    UNION
    SELECT forge, lower(%(username)s) FROM known WHERE NOT EXISTS (
        SELECT FROM notify.identities AS other
        WHERE other.forge = known.forge AND lower(other.login) = lower(%(username)s)
    )
    ORDER BY forge, login"""
_ADDRESSES = """
    SELECT email FROM notify.people WHERE username = %(username)s AND email IS NOT NULL
    UNION SELECT undeliverable_email FROM notify.people
    WHERE username = %(username)s AND undeliverable_email IS NOT NULL
    UNION SELECT email FROM notify.user_notification_settings WHERE username = %(username)s AND email IS NOT NULL
    UNION SELECT to_email FROM notify.email_jobs WHERE username = %(username)s
    ORDER BY email"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonNames:
    """``logins`` are in lower case, each with its forge."""

    username: str
    addresses: tuple[str, ...] = ()
    logins: tuple[tuple[str, str], ...] = ()

    @property
    def unmapped_actors(self) -> list[str]:
        """The actor, in lower case, of events from before a login was theirs."""
        return [f"{login} ({forge})".lower() for forge, login in self.logins]

    @property
    def event_keys(self) -> str:
        """A regular expression for keys of events that a forge made of a request for their review."""
        logins = sorted({login for _, login in self.logins})
        return f":requested:[0-9]+:({_any(logins)}):" if logins else "^$"

    @property
    def in_bodies(self) -> str:
        """
        A regular expression, matched without case, for bodies in PostgreSQL's bytea format ``escape``.

        A body is JSON or a form, so a name may follow an escape sequence.
        """
        names = {self.username, *self.addresses, *(login for _, login in self.logins)}
        spellings = sorted({spelling for name in names for spelling in _spellings(name)})
        before = r"(^|[^[:alnum:]]|\\[bfnrt]|\\u[0-9a-f]{4}|%[0-9a-f]{2}|\\[0-7]{3})"
        return f"{before}({_any(spellings)})($|[^[:alnum:]])"


def person_names(connection: Connection, username: str) -> PersonNames:
    """Everything that the database knows the person by. Scans all jobs."""
    asked = {"username": username}
    return PersonNames(
        username=username,
        addresses=tuple(connection.exec_driver_sql(_ADDRESSES, asked).scalars()),
        logins=tuple((row.forge, row.login) for row in connection.exec_driver_sql(_LOGINS, asked)),
    )


def _any(names: Sequence[str]) -> str:
    return "|".join(map(escape, names))


def _spellings(name: str) -> set[str]:
    """A name as itself, in JSON of ASCII alone, and either in a form."""
    as_text = {name, dumps(name)[1:-1]}
    return {_bytea_escaped(one) for one in as_text} | {quote(one, safe="") for one in as_text}


def _bytea_escaped(text: str) -> str:
    return "".join(
        f"{BACKSLASH}{byte:03o}"
        if byte >= FIRST_BEYOND_ASCII
        else BACKSLASH * 2
        if chr(byte) == BACKSLASH
        else chr(byte)
        for byte in text.encode()
    )
