"""``manage.py check --database`` says whether the schema notify is there and new enough."""

import pytest
from django.core.checks import run_checks
from django.db import connections, transaction
from django.test import override_settings

from notify.contrib.django.schema_check import MIGRATE
from notify.resources import newest_migration
from notify.store.operations.migrate import head

pytestmark = pytest.mark.usefixtures("project")


def found(*databases: str) -> dict[str, str]:
    """What the system checks say of notify, by id."""
    said = run_checks(databases=databases)
    return {str(one.id): f"{one.msg} {one.hint}" for one in said if str(one.id).startswith("notify.")}


def found_after(statement: str) -> dict[str, str]:
    """The same in a transaction in which this was executed."""
    with transaction.atomic():
        with connections["default"].cursor() as cursor:
            cursor.execute(statement)
        said = found("default")
        transaction.set_rollback(True)
    return said


def test_a_schema_as_new_as_the_code_is_no_problem() -> None:
    assert found("default") == {}
    assert newest_migration() == head()


def test_a_missing_schema_is_named_with_the_command_that_makes_it() -> None:
    said = found_after("ALTER SCHEMA notify RENAME TO elsewhere")
    assert list(said) == ["notify.W002"]
    assert MIGRATE in said["notify.W002"]


def test_an_old_schema_is_named_with_both_revisions() -> None:
    said = found_after("UPDATE notify.alembic_version SET version_num = '0001'")
    assert list(said) == ["notify.W004"]
    assert "0001" in said["notify.W004"]
    assert newest_migration() in said["notify.W004"]


def test_a_role_that_may_not_read_the_revision_is_told_the_grant() -> None:
    said = found_after("CREATE ROLE bare_of_rights; SET LOCAL ROLE bare_of_rights")
    assert list(said) == ["notify.W003"]
    assert "GRANT" in said["notify.W003"]


def test_another_database_than_postgresql_is_named() -> None:
    with override_settings(NOTIFY={"DATABASE_ALIAS": "sqlite"}):
        assert list(found("sqlite")) == ["notify.W001"]


def test_a_database_that_is_not_checked_is_not_asked() -> None:
    assert found() == {}
