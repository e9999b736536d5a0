"""What autovacuum would have done by now, on a connection that waits as long as it takes."""

import psycopg
from psycopg.sql import SQL, Identifier

from notify.store.database import Database


def vacuum(database: Database, *tables: str) -> None:
    """Clean these tables up, and count them for the planner."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for table in tables:
            connection.execute(SQL("VACUUM ANALYZE notify.{}").format(Identifier(table)))
