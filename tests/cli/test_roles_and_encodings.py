"""Which roles may migrate and work, and which databases are refused before anything is written."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import make_url, text

import notify as notify_package
from notify.domain.preferences import Person
from notify.doorbell import NoDoorbell
from notify.resources import folder
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.operations import migrate
from notify.store.operations.migrate import UnsuitableDatabase
from tests.cli.conftest import Notify
from tests.support.applications import driver
from tests.support.harness import WorkerHarness, comment
from tests.support.roles import PASSWORD, administer, as_role, roles
from tests.support.servers import in_words, new_database
from tests.support.smtp import ScriptedRelay

OWNER, WORKER, APPLICATION = ROLES = ("outbox_owner", "outbox_worker", "application")
SCHEMAS = text("SELECT count(*) FROM pg_namespace WHERE nspname = 'notify'")
LIBC_IS_ONE_OF_SEVERAL = 150_000
A_YEAR_LATER = """
    UPDATE notify.email_jobs
    SET (created_at, finished_at) = (created_at - interval '1 year', finished_at - interval '1 year')
"""


def documented(page: str, first: str) -> list[str]:
    """The statements on this page that begin like this."""
    words = (folder("docs") / page).read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```sql\n(.*?)```", words, re.DOTALL) if one.startswith(first)]
    return str(block).replace("LOGIN", f"LOGIN PASSWORD '{PASSWORD}'").splitlines()


def schemas(url: str) -> int:
    with closing(Database(url)) as opened, opened.begin() as connection:
        return connection.scalar(SCHEMAS) or 0


@pytest.fixture
def empty(unmigrated_database_url: str) -> Iterator[str]:
    """A database without any table, and without any of our roles."""
    with roles(unmigrated_database_url, ROLES):
        yield unmigrated_database_url


def migrated_as(notify: Notify, url: str, monkeypatch: pytest.MonkeyPatch) -> BaseException | None:
    """The error of ``notify migrate`` on this database; null if it succeeds."""
    monkeypatch.setenv("NOTIFY_DATABASE_URL", url)
    return notify("migrate", "--json").error


@contextmanager
def encoded(server: str, encoding: str) -> Iterator[str]:
    """The URL of a database in this encoding."""
    with psycopg.connect(in_words(make_url(server))) as connection:
        several = connection.info.server_version >= LIBC_IS_ONE_OF_SEVERAL
    provider = "LOCALE_PROVIDER libc" if several else ""
    options = f"ENCODING '{encoding}' {provider} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with new_database(server, options) as url:
        yield url


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_a_database_that_is_not_utf8_is_refused_before_anything_is_written(
    notify: Notify, database_server: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with encoded(database_server, encoding) as url:
        assert isinstance(migrated_as(notify, url, monkeypatch), UnsuitableDatabase)
        assert schemas(url) == 0
        assert {one["about"] for one in notify("doctor", "--json").json if not one["ok"]} >= {"encoding", "schema"}


def test_a_role_that_may_not_create_a_schema_migrates_one_created_for_it(
    notify: Notify, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    administer(empty, f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'")
    url = as_role(empty, OWNER)
    assert isinstance(migrated_as(notify, url, monkeypatch), UnsuitableDatabase)
    assert schemas(empty) == 0
    administer(empty, f"CREATE SCHEMA notify AUTHORIZATION {OWNER}")
    assert [migrated_as(notify, url, monkeypatch) for _ in range(2)] == [None, None]


def test_a_role_that_may_create_a_schema_creates_it(
    notify: Notify, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = empty.partition("?")[0].rpartition("/")[2]
    administer(empty, f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'", f"GRANT CREATE ON DATABASE {name} TO {OWNER}")
    assert migrated_as(notify, as_role(empty, OWNER), monkeypatch) is None


def test_the_documented_roles_migrate_emit_and_work(
    notify: Notify, empty: str, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    administer(empty, *documented("operations.md", "CREATE ROLE"))
    assert migrated_as(notify, as_role(empty, OWNER), monkeypatch) is None
    make = f"CREATE ROLE {APPLICATION} LOGIN PASSWORD '{PASSWORD}'"
    administer(empty, make, *documented("events.md", "GRANT USAGE"))

    monkeypatch.setenv("NOTIFY_SMTP_URL", relay.url)
    monkeypatch.setenv("NOTIFY_DATABASE_URL", as_role(empty, WORKER))
    with closing(Database(as_role(empty, WORKER))) as opened:
        harness = WorkerHarness(opened, relay.url)
        with opened.begin() as connection:
            directory.put_person(connection, Person(username="ann", email="ann@example.com"))
        with driver()(as_role(empty, APPLICATION)) as application:
            given = [comment(key="k1", reviewers=["ann", "bob"]), comment(key="k2", reviewers=["ann"])]
            for event in given:
                notify_package.emit(application, event, doorbell=NoDoorbell())
            application.commit()
        harness.fan_out()
        assert harness.drain()["sent"] > 0
        assert notify("top", "--once", "--json").json["wrong"] == []
        assert {one["about"] for one in notify("doctor", "--json").json if not one["ok"]} == set()
        harness.execute(A_YEAR_LATER)
        assert notify("prune", "--json").json["jobs"] > 0
        assert notify("migrate", "--json").error is None

        migrate.downgrade(as_role(empty, OWNER), target="0007")
        assert isinstance(notify("migrate", "--json").error, UnsuitableDatabase)
        with opened.begin() as connection:
            assert migrate.current(connection) == "0007"
