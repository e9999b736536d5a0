"""The schema's version: bring it up, take it down, say where it stands."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from notify.resources import folder
from notify.store.tables import SCHEMA


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


def _config(url: str) -> Config:
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return config
