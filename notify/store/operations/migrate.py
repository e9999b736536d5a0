"""Schema migrations: upgrade, downgrade, the current revision, and what the database must allow."""

from typing import NoReturn

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from notify.domain.errors import NotifyError
from notify.resources import folder
from notify.store.database import NOT_PRIVILEGED, Database, message_of
from notify.store.tables import SCHEMA, metadata

ENCODING = "UTF8"

_ENCODING = text("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
_SCHEMA = text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :schema")
_COLUMNS = text(f"""
    SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = '{SCHEMA}'
""")
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
    """The newest revision in this code."""
    newest = ScriptDirectory.from_config(_config("")).get_current_head()
    return str(newest)


def current(connection: Connection) -> str | None:
    """The database's revision; None: never migrated."""
    return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def has_every_column(url: str) -> bool:
    """Whether the schema has all tables and columns of this code; an earlier commit's migrations had the same names."""
    database = Database(url)
    try:
        with database.begin() as connection:
            there = set(connection.execute(_COLUMNS).scalars())
    finally:
        database.close()
    return all(f"{table.name}.{one.name}" in there for table in metadata.tables.values() for one in table.columns)


def encoding(connection: Connection) -> str:
    """The database's encoding."""
    return str(connection.scalar(_ENCODING))


def create_schema(connection: Connection) -> None:
    """
    Create the schema if it is missing; only then is the CREATE privilege needed.

    Raises:
        UnsuitableDatabase: The database is not UTF-8, or this role may not create the schema.
    """
    found = encoding(connection)
    if found != ENCODING:
        raise UnsuitableDatabase(
            f"the database is encoded as {found} and cannot store every text; create one with "
            f"CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        )
    if connection.scalar(_SCHEMA, {"schema": SCHEMA}) is not None:
        return
    ours = connection.execute(_ROLE).one()
    if not ours.may_create:
        raise UnsuitableDatabase(
            f'the role "{ours.role}" may not create the schema {SCHEMA}; an administrator must run '
            f'CREATE SCHEMA {SCHEMA} AUTHORIZATION "{ours.role}" '
            f'or GRANT CREATE ON DATABASE "{ours.database}" TO "{ours.role}"'
        )
    connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))


def explain_failure(connection: Connection, error: ProgrammingError) -> NoReturn:
    """
    Explain a failed migration, after its rollback.

    Raises:
        UnsuitableDatabase: The role lacked privileges.
        ProgrammingError: Something else was wrong.
    """
    if getattr(error.orig, "sqlstate", None) != NOT_PRIVILEGED:
        raise error
    role, owner = connection.execute(_ROLE).one().role, connection.scalar(_SCHEMA, {"schema": SCHEMA})
    raise UnsuitableDatabase(
        f'the role "{role}" may not change the schema {SCHEMA} ({message_of(error)}); '
        f'run it as the role that owns the schema and its tables, or GRANT "{owner}" TO "{role}"'
    ) from None


def _config(url: str) -> Config:
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return config
