"""A test's own roles, as an administrator makes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.support.servers import in_words

PASSWORD = "known"


def administer(url: str, *statements: str) -> None:
    """Run these statements as the server's owner, in one session."""
    with psycopg.connect(in_words(make_url(url)), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(sql.SQL(statement))


def as_role(url: str, role: str) -> str:
    """The URL of the same database for this role."""
    return in_words(make_url(url).set(username=role, password=PASSWORD))


@contextmanager
def roles(url: str, names: Sequence[str]) -> Iterator[None]:
    """Drop these roles at the end, with everything they own."""
    with psycopg.connect(in_words(make_url(url)), autocommit=True) as administrator:
        try:
            yield
        finally:
            for name in names:
                role = sql.Identifier(name)
                if administrator.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None:
                    administrator.execute(sql.SQL("DROP OWNED BY {}").format(role))
                    administrator.execute(sql.SQL("DROP ROLE {}").format(role))
