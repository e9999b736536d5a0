"""Roles of a test's own, as an administrator makes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.support.servers import in_words

PASSWORD = "known"


def administer(url: str, *statements: str) -> None:
    """Do this as who owns the server, in one session."""
    with psycopg.connect(in_words(make_url(url)), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(sql.SQL(statement))


def as_role(url: str, role: str) -> str:
    """The same database for this role."""
    return in_words(make_url(url).set(username=role, password=PASSWORD))


@contextmanager
def roles(url: str, names: Sequence[str]) -> Iterator[None]:
    """Whatever roles of these names there are in the end, with all that is theirs, is gone."""
    with psycopg.connect(in_words(make_url(url)), autocommit=True) as administrator:
        try:
            yield
        finally:
            for name in names:
                role = sql.Identifier(name)
                if administrator.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None:
                    administrator.execute(sql.SQL("DROP OWNED BY {}").format(role))
                    administrator.execute(sql.SQL("DROP ROLE {}").format(role))
