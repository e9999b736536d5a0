"""Debian's PgBouncer on a loopback port, in transaction mode, otherwise with its defaults."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from socket import create_connection
from subprocess import Popen
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import make_url

from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.postgres import unprivileged
from notify.embedded.processes import spawn, stop, wait_until_ready
from tests.support.servers import in_words

PROGRAM = which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
START_SECONDS = 20
CONFIGURATION = """\
[databases]
* = {server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
"""

needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (Debian: pgbouncer)")


class PgBouncer:
    """
    A pooler in front of the server at *url*, for all its databases and users.

    Under root it runs as the account that PostgreSQL would use, because it refuses to run as root.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.port = free_port()
        self._server = make_url(url)
        self._folder = folder
        self._process: Popen[bytes] | None = None

    def through(self, url: str) -> str:
        """The URL of the same database through the pooler."""
        return in_words(make_url(url).set(host=LOOPBACK, port=self.port, query={}))

    def start(self) -> None:
        """Return once it accepts connections."""
        parts = {
            "host": self._server.query.get("host") or self._server.host or LOOPBACK,
            "port": self._server.query.get("port") or self._server.port or 5432,
            "user": self._server.username or "postgres",
            "password": self._server.password,
        }
        words = " ".join(f"{name}={value}" for name, value in parts.items() if value)
        file = self._folder / "pgbouncer.ini"
        file.write_text(CONFIGURATION.format(server=words, host=LOOPBACK, port=self.port))
        log = self._folder / "log"
        command = unprivileged([str(PROGRAM), str(file)], owner_of=self._folder / "nothing")
        self._process = spawn(command, log=log)
        wait_until_ready(self._process, self._answers, log=log, seconds=START_SECONDS)

    def stop(self) -> None:
        """Cut all connections; harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            stop(process)

    def _answers(self) -> bool:
        """Names no database: a session that the pool already had would be older than a test's settings."""
        with suppress(OSError), create_connection((LOOPBACK, self.port), timeout=1):
            return True
        return False


@contextmanager
def pgbouncer(url: str) -> Iterator[PgBouncer]:
    """A running pooler."""
    with TemporaryDirectory(prefix="pgbouncer-") as folder:
        running = PgBouncer(url, Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()
