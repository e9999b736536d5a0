"""The servers of the benchmark: a durable PostgreSQL and a broker of its own, and an empty database per measurement."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from notify.embedded.postgres import PostgresServer
from notify.embedded.valkey import ValkeyServer
from notify.settings import PREFIX, Settings
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.support.servers import empty_broker, new_database

MAIL = {
    "NOTIFY_MAIL_FROM": "notify@example.com",
    "NOTIFY_PUBLIC_URL": "https://notify.example.com",
    "NOTIFY_SECRET_KEYS": "k" * 32,
}
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class BenchmarkServers:
    """The servers' URLs, PostgreSQL's first process, and a folder for logs."""

    database_server: str
    database_pid: int
    broker: str
    folder: Path

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A migrated, empty database for the length of the block; the broker is emptied too."""
        empty_broker(self.broker)
        with new_database(self.database_server) as url:
            upgrade(url)
            with closing(Database(url)) as database:
                yield database

    def environment(self, database: Database, smtp_url: str | None = None, **changes: str) -> dict[str, str]:
        """The environment of a process of notify; *changes* are settings without their prefix."""
        relay = {} if smtp_url is None else {"NOTIFY_SMTP_URL": smtp_url}
        more = {f"{PREFIX}{name.upper()}": value for name, value in changes.items()}
        return {**MAIL, "NOTIFY_DATABASE_URL": database.url, "NOTIFY_BROKER_URL": self.broker, **relay, **more}


@contextmanager
def benchmark_servers(folder: Path) -> Iterator[BenchmarkServers]:
    """
    The servers, until the block ends; PostgreSQL with the memory recommended for a dedicated server.

    Args:
        folder: For the data; PostgreSQL flushes every commit to its disk.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "database", options=[f"shared_buffers={cache()}"]))
        broker = stack.enter_context(ValkeyServer(folder / "broker"))
        assert postgres.process is not None
        yield BenchmarkServers(postgres.url, postgres.process.pid, broker.url, folder)


def cache() -> str:
    """
    A quarter of the machine's memory, as PostgreSQL writes it.

    Source: PostgreSQL documentation, 19.4.1 (shared_buffers).
    """
    return f"{psutil.virtual_memory().total // 4 // MEBIBYTE}MB"


def settings(environment: Mapping[str, str]) -> Settings:
    """The settings in this environment."""
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    return Settings(**given)
