"""
The system check that the schema ``notify`` is in Django's database, and new enough.

*Decided*: warnings. An error would stop ``manage.py migrate`` on a new database, and a test suite whose database has no
schema, since it records what is emitted.
"""

from collections.abc import Iterator, Sequence

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from notify.contrib.django.configuration import database_alias
from notify.contrib.django.emitting import UnsupportedDatabase, driver_of
from notify.resources import newest_migration

MIGRATE = "manage.py notify migrate"
_READABLE = """
    SELECT has_schema_privilege(area.oid, 'USAGE') AND has_table_privilege(version.oid, 'SELECT')
    FROM pg_catalog.pg_namespace AS area JOIN pg_catalog.pg_class AS version
        ON version.relnamespace = area.oid AND version.relname = 'alembic_version'
    WHERE area.nspname = 'notify'
"""
_REVISION = "SELECT version_num FROM notify.alembic_version"


def check_schema(*, databases: Sequence[str] | None = None, **_: object) -> list[CheckMessage]:
    """What is wrong with the database that notify is to be in, if it is one of *databases*."""
    alias = database_alias()
    return list(_problems(connections[alias])) if alias in (databases or ()) else []


def _problems(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    try:
        driver_of(connection)
    except UnsupportedDatabase as error:
        yield CheckWarning(str(error), hint="NOTIFY['DATABASE_ALIAS'] names another of DATABASES.", id="notify.W001")
        return
    readable, revision = _found(connection)
    newest = newest_migration()
    if readable is None:
        yield CheckWarning(f"{connection.alias} has no schema notify.", hint=MIGRATE, id="notify.W002")
    elif not readable:
        message = "This role cannot see how new the schema notify is."
        yield CheckWarning(message, hint="GRANT SELECT ON notify.alembic_version", id="notify.W003")
    elif revision < newest:
        message = (
            f"The schema notify of {connection.alias} is at {revision or 'no revision'}; this code needs {newest}."
        )
        yield CheckWarning(message, hint=MIGRATE, id="notify.W004")


def _found(connection: BaseDatabaseWrapper) -> tuple[bool | None, str]:
    """Whether the schema's revision may be read, None: there is none; and the revision."""
    with connection.cursor() as cursor:
        cursor.execute(_READABLE)
        (readable,) = cursor.fetchone() or (None,)
        if not readable:
            return readable, ""
        cursor.execute(_REVISION)
        (revision,) = cursor.fetchone() or ("",)
    return readable, revision
