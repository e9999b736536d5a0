"""Bearer tokens of programs: random, shown once, stored as a hash."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe

from sqlalchemy import Connection, false, func, insert, select, update

from notify.store.tables.people import api_tokens

PREFIX = "ntf_"
RANDOM_BYTES = 32
LAST_USED_PRECISION = timedelta(minutes=1)


class Scope(StrEnum):
    """What a program may do."""

    EVENTS_WRITE = "events:write"
    DIRECTORY_WRITE = "directory:write"
    STATUSES_WRITE = "statuses:write"
    OPS = "ops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A stored token; ``revoked_at`` None: valid, ``last_used_at`` None: never used."""

    id: int
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


def create(connection: Connection, name: str, *, scopes: Iterable[Scope]) -> str:
    """Create a token. It cannot be read again."""
    token = PREFIX + token_urlsafe(RANDOM_BYTES)
    connection.execute(insert(api_tokens).values(name=name, token_hash=_hash(token), scopes=sorted(set(scopes))))
    return token


def use(connection: Connection, token: str) -> frozenset[Scope] | None:
    """The token's scopes; None: unknown or revoked. Updates ``last_used_at`` at most once a minute."""
    row = api_tokens.c
    used_lately = func.coalesce(row.last_used_at > func.now() - LAST_USED_PRECISION, false())
    found = connection.execute(
        select(row.id, row.scopes, used_lately.label("used_lately")).where(
            row.token_hash == _hash(token), row.revoked_at.is_(None)
        )
    ).one_or_none()
    if found is None:
        return None
    if not found.used_lately:
        connection.execute(update(api_tokens).where(row.id == found.id).values(last_used_at=func.now()))
    return frozenset(map(Scope, found.scopes))


def revoke(connection: Connection, token_id: int) -> bool:
    """Revoke a token at once. False: there is no such token, or it was revoked before."""
    valid = update(api_tokens).where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
    return connection.execute(valid.values(revoked_at=func.now())).rowcount == 1


def issued(connection: Connection) -> list[Token]:
    """Every token, oldest first, including revoked ones."""
    columns = (api_tokens.c[name] for name in Token.__slots__)
    rows = connection.execute(select(*columns).order_by(api_tokens.c.id)).mappings()
    return [Token(**{**row, "scopes": frozenset(map(Scope, row["scopes"]))}) for row in rows]


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
