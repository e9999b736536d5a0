"""Bearer tokens of programs: random, shown once, stored as a hash."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe

from sqlalchemy import Connection, func, insert, select, update

from notify.store.tables import api_tokens

PREFIX = "ntf_"
RANDOM_BYTES = 32


class Scope(StrEnum):
    """What a program may do."""

    EVENTS_WRITE = "events:write"
    DIRECTORY_WRITE = "directory:write"
    OPS = "ops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token besides itself; ``revoked_at`` None means valid."""

    id: int
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None


def create(connection: Connection, name: str, *, scopes: Iterable[Scope]) -> str:
    """A new token. This is the only time that anybody sees it."""
    token = PREFIX + token_urlsafe(RANDOM_BYTES)
    connection.execute(insert(api_tokens).values(name=name, token_hash=_hash(token), scopes=sorted(set(scopes))))
    return token


def scopes_of(connection: Connection, token: str) -> frozenset[Scope] | None:
    """What the token allows; None if it is unknown or revoked."""
    query = select(api_tokens.c.scopes).where(
        api_tokens.c.token_hash == _hash(token), api_tokens.c.revoked_at.is_(None)
    )
    scopes = connection.scalar(query)
    return None if scopes is None else frozenset(map(Scope, scopes))


def revoke(connection: Connection, token_id: int) -> bool:
    """End a token at once. False if there is no such token or it was revoked before."""
    valid = update(api_tokens).where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
    return connection.execute(valid.values(revoked_at=func.now())).rowcount == 1


def issued(connection: Connection) -> list[Token]:
    """Every token ever made, oldest first, revoked ones too."""
    columns = (
        api_tokens.c.id,
        api_tokens.c.name,
        api_tokens.c.scopes,
        api_tokens.c.created_at,
        api_tokens.c.revoked_at,
    )
    rows = connection.execute(select(*columns).order_by(api_tokens.c.id)).mappings()
    return [Token(**{**row, "scopes": frozenset(map(Scope, row["scopes"]))}) for row in rows]


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
