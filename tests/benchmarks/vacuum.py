"""Runs VACUUM in place of autovacuum, without a statement timeout."""

import psycopg
from psycopg.sql import SQL, Identifier

from notify.store.database import Database


def vacuum(database: Database, *tables: str) -> None:
    """Vacuum and analyze these tables."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for table in tables:
            connection.execute(SQL("VACUUM ANALYZE notify.{}").format(Identifier(table)))
