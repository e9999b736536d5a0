"""``manage.py notify`` is notify's command line on Django's database."""

import os
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from sqlalchemy import make_url

from notify.domain.preferences import Person
from notify.resources import newest_migration
from notify.store.database import Database
from notify.store.directory import directory

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def empty(unmigrated_database_url: str) -> Iterator[str]:
    """The alias of a database without the schema."""
    connection = connections["other"]
    connection.close()
    migrated = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = make_url(unmigrated_database_url).database
    yield "other"
    connection.close()
    connection.settings_dict["NAME"] = migrated


def test_the_schema_is_made_in_djangos_database(empty: str) -> None:
    call_command("notify", "migrate", database=empty)
    with connections[empty].cursor() as cursor:
        cursor.execute("SELECT version_num FROM notify.alembic_version")
        assert cursor.fetchone() == (newest_migration(),)


def test_commands_read_djangos_database_and_leave_the_environment_as_it_was(
    capsys: pytest.CaptureFixture[str], project: Database
) -> None:
    with project.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
    before = dict(os.environ)
    call_command("notify", "people", "show", "dana", "--json")
    assert '"dana@example.com"' in capsys.readouterr().out
    assert dict(os.environ) == before


def test_a_command_that_fails_ends_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("notify", "people", "show", "nobody")
    assert ended.value.code
    assert "nobody" in capsys.readouterr().err


def test_another_database_than_postgresql_is_refused() -> None:
    with (
        override_settings(NOTIFY={"DATABASE_ALIAS": "sqlite"}),
        pytest.raises(CommandError, match=r"sqlite.*PostgreSQL"),
    ):
        call_command("notify", "people", "show", "dana")
