"""Migrations: up, down, concurrent, repeated, and equal to the code's tables."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text
from sqlalchemy.schema import CreateSchema

from notify.domain.events import COMMENT_MENTIONED
from notify.intake.triggers import OWN_TRIGGERS, TRIGGERS
from notify.resources import folder
from notify.store.database import Database
from notify.store.operations import migrate
from notify.store.tables import SCHEMA, SERVES, metadata
from notify.store.tables.people import notification_event_types
from tests.support.race import all_at_once, blocked_session, meanwhile
from tests.support.schema_catalog import described

VERSIONS = sorted((folder("migrations") / "versions").glob("*.py"))
ADVISORY_LOCK = 0x6E6F74696679
EVENT_TYPES = select(*(column for column in notification_event_types.c if column.name != "bundle_within"))
OUTCOME_TRIGGERS = ["tell_of_emails", "tell_of_events", "tell_of_notifications", "tell_of_rechecks"]
BY_DEFAULT = {"expires_after": timedelta(hours=72)}


@pytest.fixture
def empty(unmigrated_database_url: str) -> Iterator[Database]:
    """A database without any table."""
    database = Database(unmigrated_database_url)
    yield database
    database.close()


@pytest.fixture
def empty_url(empty: Database, unmigrated_database_url: str) -> str:
    assert isinstance(empty, Database)
    return unmigrated_database_url


def revision(database: Database) -> str | None:
    with database.begin() as connection:
        return migrate.current(connection)


def tables(database: Database) -> set[str]:
    with database.begin() as connection:
        return {str(one["relname"]) for one in described(connection)["tables"]}


def event_types(database: Database) -> list[dict[str, object]]:
    with database.begin() as connection:
        return [dict(row) for row in connection.execute(EVENT_TYPES).mappings()]


def create_as_the_code_believes(connection: Connection) -> None:
    connection.execute(CreateSchema(SCHEMA))
    metadata.create_all(connection)
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        comment = str(index.info[SERVES]).replace("'", "''")
        connection.execute(text(f"COMMENT ON INDEX {SCHEMA}.{index.name} IS '{comment}'"))


def test_the_migrated_database_equals_the_tables_in_the_code(empty: Database, database: Database) -> None:
    with empty.begin() as connection:
        create_as_the_code_believes(connection)
        believed = described(connection)
    with database.begin() as connection:
        migrated = described(connection)
    assert set(believed) == set(migrated)
    # Only migrations make triggers, each with its function.
    functions, triggers = migrated.pop("functions"), migrated.pop("triggers")
    assert [one["proname"] for one in functions] == sorted(str(one["tgname"]) for one in triggers) == OUTCOME_TRIGGERS
    assert (believed.pop("functions"), believed.pop("triggers")) == ([], [])
    for kind, what in believed.items():
        assert migrated[kind] == what, kind
    assert len(migrated["tables"]) == len(metadata.tables)


def test_every_table_column_and_index_has_a_comment(database: Database) -> None:
    with database.begin() as connection:
        found = described(connection)
    silent = [
        one
        for kind in ("tables", "columns", "indexes")
        for one in found[kind]
        if not one["comment"] and not one.get("constraint")
    ]
    assert silent == []
    assert all(str(one["comment"]).endswith(".") for one in [*found["tables"], *found["columns"]])


def test_every_revision_goes_up_down_and_up_again(empty: Database, empty_url: str) -> None:
    revisions = [path.name.partition("_")[0] for path in VERSIONS]
    catalogs = {}
    for target in revisions:
        migrate.upgrade(empty_url, target=target)
        with empty.begin() as connection:
            catalogs[target] = described(connection)
    for upper, lower in pairwise(reversed(revisions)):
        migrate.downgrade(empty_url, target=lower)
        assert revision(empty) == lower
        with empty.begin() as connection:
            assert described(connection) == catalogs[lower], f"{upper} does not undo what it does"
    migrate.downgrade(empty_url, target="base")
    assert tables(empty) == set()
    migrate.upgrade(empty_url)
    assert revision(empty) == migrate.head() == revisions[-1]
    with empty.begin() as connection:
        assert described(connection) == catalogs[revisions[-1]]


def test_a_database_that_was_never_migrated_has_no_revision(empty: Database) -> None:
    assert revision(empty) is None


def test_upgrading_twice_changes_nothing(database: Database, database_url: str) -> None:
    with database.begin() as connection:
        before = described(connection)
    migrate.upgrade(database_url)
    with database.begin() as connection:
        assert described(connection) == before
    assert revision(database) == migrate.head()


def test_two_concurrent_upgrades_of_an_empty_database_both_succeed(empty: Database, empty_url: str) -> None:
    all_at_once([partial(upgrade_in_a_process_of_its_own, empty_url)] * 2)
    assert revision(empty) == migrate.head()
    assert sorted(str(one["code"]) for one in event_types(empty)) == sorted(
        {*TRIGGERS, *OWN_TRIGGERS, COMMENT_MENTIONED}
    )


def upgrade_in_a_process_of_its_own(url: str) -> None:
    """Alembic's context is global to a process."""
    program = "import sys; from notify.store.operations.migrate import upgrade; upgrade(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60, capture_output=True)


def test_a_second_run_waits_for_the_first_and_finds_nothing_to_do(empty: Database, empty_url: str) -> None:
    with empty.begin() as first:
        first.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        with meanwhile(migrate.upgrade, empty_url) as second:
            blocked_session(empty)
            assert tables(empty) == set()
            first.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            second.result()
    assert revision(empty) == migrate.head()


def test_an_event_type_that_an_operator_edited_stays_as_it_is(empty: Database, empty_url: str) -> None:
    migrate.upgrade(empty_url, target="0002")
    edited = {"category": "Talk", "description": "Ours.", "system_required": True, "default_enabled": False}
    with empty.begin() as connection:
        for code in ("cl.comment.created", "cl.merged"):
            connection.execute(notification_event_types.insert().values(code=code, **edited))
    migrate.upgrade(empty_url)
    stored = {str(one["code"]): one for one in event_types(empty)}
    for code in ("cl.comment.created", "cl.merged"):
        assert stored[code] == {"code": code, **edited, **BY_DEFAULT}
    assert stored["cl.closed"]["category"] == "Change lists"


def test_a_migration_that_cannot_get_its_lock_gives_up_and_leaves_nothing_half_done(
    empty: Database, empty_url: str
) -> None:
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, target="0007")
    with empty.engine.connect() as application:
        application.execute(text("LOCK TABLE notify.api_tokens IN ACCESS SHARE MODE"))
        with pytest.raises(Exception, match="lock timeout"):
            migrate.downgrade(empty_url, target="0006")
    assert "api_tokens" in tables(empty)
    assert revision(empty) == "0007"


def test_the_revisions_are_linear_and_numbered() -> None:
    config = Config()
    config.set_main_option("script_location", str(folder("migrations")))
    script = ScriptDirectory.from_config(config)
    numbers = [one.revision for one in reversed(list(script.walk_revisions()))]
    assert script.get_heads() == [numbers[-1]]
    assert numbers == [f"{number:04}" for number in range(1, len(VERSIONS) + 1)]
    assert numbers == [path.name.partition("_")[0] for path in VERSIONS]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_does_not_depend_on_the_current_code(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.partition(".")[0] in {"notify", "tests"}}


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_opens_with_its_review_header(path: Path) -> None:
    header = ast.get_docstring(ast.parse(path.read_text())) or ""
    for word in ("Phase:", "Locks:", "Runs:", "Undo:"):
        assert word in header


def alembic(*arguments: str, url: str | None) -> subprocess.CompletedProcess[str]:
    """Alembic's own command, as an operator types it in the checkout."""
    environment = {**os.environ, "NOTIFY_DATABASE_URL": url} if url else dict(os.environ)
    command = [sys.executable, "-m", "alembic", *arguments]
    checkout = folder("migrations").parent
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_alembics_own_command_works_in_the_checkout(empty: Database, empty_url: str) -> None:
    assert alembic("heads", url=None).stdout.split() == [migrate.head(), "(head)"]
    assert alembic("upgrade", "head", url=empty_url).returncode == 0
    assert revision(empty) == migrate.head()
    check = alembic("check", url=empty_url)
    assert check.returncode == 0, check.stdout


def test_alembics_own_command_without_a_database_url_asks_for_it(empty: Database) -> None:
    refused = alembic("upgrade", "head", url=None)
    assert refused.returncode != 0
    assert "NOTIFY_DATABASE_URL" in refused.stderr
    assert tables(empty) == set()
