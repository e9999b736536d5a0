"""
Fixtures for every test: real servers, a clean environment, an empty database.

NOTIFY_TEST_DATABASE_URL and NOTIFY_TEST_BROKER_URL name servers to use instead of the embedded ones.
"""

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, make_url
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from notify import logs
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.support import bare_install, servers
from tests.support.smtp import Authority, ScriptedRelay

pytest_plugins = ["pytester"]

STACKS = ("tests/embedded/", "tests/journeys/")

PREFIX = "NOTIFY_"
ABOUT_TESTS = "NOTIFY_TEST_"


# Examples have no time limit, because a busy machine is not a fault of the code. CI runs the same examples every time.
settings.register_profile(
    "notify", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("notify")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported and collected: going through it again and again took a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class FilesAndStacks(LoadFileScheduling):
    """
    Runs each file's tests in one process, and all tests with whole stacks in the same one: they look for the same free
    ports.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "stacks" if file.startswith(STACKS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesAndStacks:
    return FilesAndStacks(config, log)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Keep the machine's settings and any ``.env`` file from tests and their children, which start from bytecode.

    They trust one authority that has issued nothing, because loading those of the world takes 25 ms for each HTTP
    client.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Authority.made(tmp_path_factory.mktemp("authority")).file))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name in os.environ:
            if name.startswith(PREFIX) and not name.startswith(ABOUT_TESTS):
                patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("working-folder"))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_tracebacks() -> None:
    """Log exceptions without each frame's variables, which took up to half a second for every one."""
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, renderer])


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be created."""
    outside = os.environ.get("NOTIFY_TEST_DATABASE_URL")
    with servers.postgres(outside, tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def database_url(database_server: str) -> Iterator[str]:
    """The URL of a migrated database that lasts for the session; ``database`` empties it for a test."""
    with servers.new_database(database_server) as url:
        upgrade(url)
        yield url


@pytest.fixture
def unmigrated_database_url(database_server: str) -> Iterator[str]:
    """The URL of a database without any table, for this test alone."""
    with servers.new_database(database_server) as url:
        yield url


@pytest.fixture(scope="session")
def between_tests(database_url: str) -> Iterator[Database]:
    """For work between tests: one connection for all of them, since on a new one emptying costs ten times as much."""
    opened = Database(database_url, pool_size=1)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def seeded_event_types(between_tests: Database) -> list[dict[str, object]]:
    """The event types as the migrations left them."""
    with between_tests.begin() as connection:
        return servers.event_types(connection)


@pytest.fixture
def database(
    database_url: str, between_tests: Database, seeded_event_types: list[dict[str, object]]
) -> Iterator[Database]:
    """A migrated database that contains nothing but the seeded event types."""
    with between_tests.begin() as connection:
        servers.empty(connection)
        servers.restore_event_types(connection, seeded_event_types)
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A transaction on the empty database, for tests that need only one; rolled back at the end."""
    with database.engine.connect() as opened:
        yield opened


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker that lasts for the session."""
    outside = os.environ.get("NOTIFY_TEST_BROKER_URL")
    with servers.broker(outside, tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def broker_url(broker_server: str) -> str:
    """The URL of an empty broker."""
    servers.empty_broker(broker_server)
    return broker_server


@pytest.fixture(scope="session")
def lasting_environment(
    database_url: str, broker_server: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """
    The environment for a process of notify that several tests use: complete but for a relay.

    Emails go nowhere until a test adds NOTIFY_SMTP_URL.
    """
    return {
        **os.environ,
        "NOTIFY_DATABASE_URL": servers.in_words(make_url(database_url)),
        "NOTIFY_BROKER_URL": broker_server,
        "NOTIFY_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "NOTIFY_MAIL_FROM": "notify@example.com",
        "NOTIFY_PUBLIC_URL": "https://notify.example.com",
        "NOTIFY_SECRET_KEYS": "k" * 32,
        "NOTIFY_JWT_SECRET": "j" * 32,
    }


@pytest.fixture
def environment(
    lasting_environment: Mapping[str, str], database: Database, broker_url: str, tmp_path: Path
) -> dict[str, str]:
    """The environment for a process of notify on the empty database, for this test alone."""
    on_these = {"NOTIFY_DATABASE_URL": servers.in_words(database.engine.url), "NOTIFY_BROKER_URL": broker_url}
    return {**lasting_environment, **os.environ, **on_these, "NOTIFY_DATA_DIR": str(tmp_path)}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_install.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def bare_installs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> bare_install.BareInstalls:
    return bare_install.BareInstalls(wheel, tmp_path_factory.mktemp("bare-installs"))


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the logging configuration of the standard library and structlog afterwards."""
    root, quiet = logging.getLogger(), {name: logging.getLogger(name).level for name in logs.QUIET}
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)
    structlog.configure(**configuration)


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    """A relay that accepts everything until a test tells it otherwise."""
    with ScriptedRelay() as scripted:
        yield scripted
