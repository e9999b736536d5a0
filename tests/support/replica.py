"""A PostgreSQL server and a streaming replica that can replace it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, run
from urllib.parse import quote

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from notify.embedded.postgres import PORT, SUPERUSER, PostgresServer, program, unprivileged
from tests.support.wait import until

COPY_SECONDS = 60
# Every commit is on the replica too, or a promotion would lose it whatever notify does.
DURABLE_BY_COPIES = ("synchronous_commit=on",)


class ReplicatedPostgres:
    """
    Two servers, of which the first accepts writes until ``promote``.

    ``url`` names both, and asks for the one that accepts writes.
    """

    def __init__(self, folder: Path) -> None:
        self.first, self.second = (
            PostgresServer(folder / name, durable=False, options=DURABLE_BY_COPIES) for name in ("1", "2")
        )

    @property
    def url(self) -> str:
        hosts = ",".join(f"{quote(str(one.sockets), safe='')}:{PORT}" for one in (self.first, self.second))
        database = make_url(self.first.url).database
        return f"postgresql://{SUPERUSER}@{hosts}/{database}?target_session_attrs=read-write"

    def start(self) -> None:
        """Return once the replica has everything that the primary has, and each commit waits for it."""
        self.first.start()
        self._copy()
        self.second.start()
        self.on_first("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        until(lambda: self.on_first("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def stop(self) -> None:
        self.second.stop()
        self.first.stop()

    def forbid_writes(self) -> None:
        """Make the primary read-only, and wait for running writes."""
        self.on_first("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        until(lambda: not self.on_first("SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL"))

    def promote(self) -> None:
        """Promote the replica."""
        with psycopg.connect(self.second.url, autocommit=True) as administrator:
            administrator.execute("SELECT pg_promote()")

    def on_first(self, *statements: str) -> list[tuple[object, ...]]:
        """Run these statements on the primary; the answer to the last."""
        with psycopg.connect(self.first.url, autocommit=True) as administrator:
            found = [administrator.execute(sql.SQL(one)) for one in statements]
            return found[-1].fetchall()

    def _copy(self) -> None:
        self.second.folder.mkdir(mode=0o700, parents=True)
        where = [f"--host={self.first.sockets}", f"--port={PORT}", f"--username={SUPERUSER}"]
        how = [f"--pgdata={self.second.cluster}", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        command = [str(program("pg_basebackup")), *where, *how]
        run(unprivileged(command, owner_of=self.first.cluster), stdin=DEVNULL, check=True, timeout=COPY_SECONDS)


@contextmanager
def replicated_postgres(folder: Path) -> Iterator[ReplicatedPostgres]:
    """A running pair of servers."""
    made = ReplicatedPostgres(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
