"""Bearer tokens: shown once, stored as a hash, valid until they are revoked."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from notify.store.database import Database
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope
from notify.store.tables.people import api_tokens
from tests.support.statements import statements


def last_used(connection: Connection) -> datetime | None:
    (token,) = tokens.issued(connection)
    return token.last_used_at


def test_a_token_grants_its_scopes_and_an_invented_one_nothing(connection: Connection) -> None:
    token = tokens.create(connection, "ci", scopes=[Scope.OPS, Scope.EVENTS_WRITE, Scope.OPS])

    assert tokens.use(connection, token) == frozenset({Scope.EVENTS_WRITE, Scope.OPS})
    assert tokens.use(connection, token[:-1]) is None


def test_the_table_does_not_contain_the_token_itself(connection: Connection) -> None:
    token = tokens.create(connection, "ci", scopes=[Scope.OPS])

    (row,) = connection.execute(select(api_tokens)).all()

    assert not any(token.removeprefix("ntf_") in str(value) for value in row)


def test_a_revoked_token_grants_nothing_and_is_revoked_once(connection: Connection) -> None:
    kept, lost = (tokens.create(connection, name, scopes=[Scope.OPS]) for name in ("kept", "lost"))
    listed = {token.name: token.id for token in tokens.issued(connection)}

    assert tokens.revoke(connection, listed["lost"])
    assert not tokens.revoke(connection, listed["lost"])
    assert not tokens.revoke(connection, 0)

    assert tokens.use(connection, lost) is None
    assert tokens.use(connection, kept) == frozenset({Scope.OPS})


def test_a_token_records_when_it_was_last_used_to_the_minute(connection: Connection, database: Database) -> None:
    token = tokens.create(connection, "ci", scopes=[Scope.OPS])
    assert last_used(connection) is None

    tokens.use(connection, token[:-1])
    assert last_used(connection) is None

    tokens.use(connection, token)
    first = last_used(connection)
    with statements(database) as sent:
        tokens.use(connection, token)
    assert last_used(connection) == first
    assert len(sent) == 1

    long_ago = func.now() - timedelta(minutes=2)
    connection.execute(update(api_tokens).values(last_used_at=long_ago))
    tokens.use(connection, token)
    assert last_used(connection) == first == connection.scalar(select(func.now()))


def test_tokens_are_listed_in_order_of_creation(connection: Connection) -> None:
    tokens.create(connection, "first", scopes=[Scope.OPS])
    tokens.create(connection, "second", scopes=Scope)

    first, second = tokens.issued(connection)

    assert (first.name, first.scopes, first.revoked_at) == ("first", frozenset({Scope.OPS}), None)
    assert (second.name, second.scopes) == ("second", frozenset(Scope))
    assert first.created_at.utcoffset() is not None


def test_a_token_without_scopes_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError):
        tokens.create(connection, "useless", scopes=[])
