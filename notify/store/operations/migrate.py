"""The schema's version: upgrade, downgrade, read; and what a database must be for it."""

from typing import NoReturn

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from notify.domain.errors import NotifyError
from notify.resources import folder
from notify.store.database import NOT_PRIVILEGED, message_of
from notify.store.tables import SCHEMA

ENCODING = "UTF8"

_ENCODING = text("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
_SCHEMA = text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :schema")
_ROLE = text("""
    SELECT current_user AS role, current_database() AS database,
        has_database_privilege(current_database(), 'CREATE') AS may_create
""")


class UnsuitableDatabase(NotifyError):
    """The database cannot hold the schema notify."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why

    def __str__(self) -> str:
        return self.why


def upgrade(url: str, *, target: str = "head") -> None:
    """Bring the database to *target*. Safe to repeat and to run from several places at once."""
    command.upgrade(_config(url), target)


def downgrade(url: str, *, target: str) -> None:
    """Take the database down to *target*; ``base`` removes every table and its rows."""
    command.downgrade(_config(url), target)


def head() -> str:
    """The newest revision this code brings."""
    newest = ScriptDirectory.from_config(_config("")).get_current_head()
    return str(newest)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None if it was never migrated."""
    return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def encoding(connection: Connection) -> str:
    """In which encoding the database keeps its text."""
    return str(connection.scalar(_ENCODING))


def make_schema(connection: Connection) -> None:
    """
    Make the schema unless it is there: only then does it take the right to make one.

    Raises:
        UnsuitableDatabase: The database cannot hold what people write, or this role may not make the schema.
    """
    found = encoding(connection)
    if found != ENCODING:
        raise UnsuitableDatabase(
            f"the database is encoded as {found} and cannot hold what people write; expected one made with "
            f"CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        )
    if connection.scalar(_SCHEMA, {"schema": SCHEMA}) is not None:
        return
    ours = connection.execute(_ROLE).one()
    if not ours.may_create:
        raise UnsuitableDatabase(
            f'the role "{ours.role}" may not make the schema {SCHEMA}; expected, by an administrator, '
            f'CREATE SCHEMA {SCHEMA} AUTHORIZATION "{ours.role}" '
            f'or GRANT CREATE ON DATABASE "{ours.database}" TO "{ours.role}"'
        )
    connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))


def refuse(connection: Connection, error: ProgrammingError) -> NoReturn:
    """
    Say whose rights a migration lacked, after it was rolled back.

    Raises:
        UnsuitableDatabase: It lacked rights.
        ProgrammingError: It did not.
    """
    if getattr(error.orig, "sqlstate", None) != NOT_PRIVILEGED:
        raise error
    role, owner = connection.execute(_ROLE).one().role, connection.scalar(_SCHEMA, {"schema": SCHEMA})
    raise UnsuitableDatabase(
        f'the role "{role}" may not change the schema {SCHEMA} ({message_of(error)}); '
        f'expected the role that owns the schema and its tables, or GRANT "{owner}" TO "{role}"'
    ) from None


def _config(url: str) -> Config:
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return config
