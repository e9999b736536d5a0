"""Debian's Postfix on a loopback port, with its own configuration, queue and data."""

import os
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from grp import getgrnam
from pathlib import Path
from pwd import getpwnam
from shutil import which
from signal import SIGHUP, SIGTERM
from socket import create_connection
from socketserver import StreamRequestHandler, ThreadingTCPServer
from subprocess import DEVNULL, Popen, TimeoutExpired
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from psutil import Process

from notify.embedded.ports import LOOPBACK, free_port
from tests.support.wait import until

DAEMONS = Path("/usr/lib/postfix/sbin")
OWNER, SUBMITTERS = "postfix", "postdrop"
TIMEOUT_SECONDS = 10

needs_postfix = pytest.mark.skipif(
    which("postfix") is None or not DAEMONS.is_dir() or os.geteuid() != 0,
    reason="Postfix is not installed (Debian: postfix), or its master, which starts for root alone, has another user",
)

# It relays for nobody until a test allows it, and discards what it accepts.
PARAMETERS = {
    "compatibility_level": "3.6",
    "daemon_directory": str(DAEMONS),
    "mail_owner": OWNER,
    "setgid_group": SUBMITTERS,
    "myhostname": "relay.test",
    "mydestination": "",
    "mynetworks": "192.0.2.0/24",
    "inet_protocols": "ipv4",
    "alias_maps": "",
    "default_transport": "discard:",
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
}
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
OWNED_FOLDERS = "active bounce corrupt defer deferred flush hold incoming private saved trace"


class Postfix:
    """
    A running Postfix.

    Args:
        folder: For its files; other users may read it.
        parameters: For ``main.cf``, besides those that every test needs.
    """

    def __init__(self, folder: Path, port: int, parameters: Mapping[str, str]) -> None:
        self.port = port
        self._folder = folder
        self._parameters = {
            **PARAMETERS,
            "queue_directory": str(folder / "queue"),
            "data_directory": str(folder / "data"),
            "maillog_file": str(folder / "log"),
            "maillog_file_prefixes": str(folder),
            **parameters,
        }
        self._master: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As ``NOTIFY_SMTP_URL``, without credentials."""
        return f"smtp://{LOOPBACK}:{self.port}"

    @property
    def name(self) -> str:
        """The name of the relay's row in the database."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> str:
        """Its log so far, including every refusal."""
        return (self._folder / "log").read_text()

    def start(self) -> None:
        """Return once it accepts connections."""
        self._lay_out()
        command = [str(DAEMONS / "master"), "-d", "-c", str(self._folder / "conf")]
        self._master = Popen(command, stderr=DEVNULL, start_new_session=True)  # it ends its process group
        until(self._answers, seconds=TIMEOUT_SECONDS)

    def change(self, **parameters: str) -> None:
        """Reload with these parameters; return once no process uses the old ones. There must be no open session."""
        self._parameters |= parameters
        self._configure()
        assert self._master is not None
        servers = [one for one in Process(self._master.pid).children() if one.name() == "smtpd"]
        self._master.send_signal(SIGHUP)
        until(lambda: not any(one.is_running() for one in servers), seconds=TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop it and all its daemons."""
        if self._master is None:
            return
        self._master.send_signal(SIGTERM)
        with suppress(TimeoutExpired):
            self._master.wait(TIMEOUT_SECONDS)
        self._master.kill()
        self._master.wait()

    def _lay_out(self) -> None:
        owner, submitters = getpwnam(OWNER).pw_uid, getgrnam(SUBMITTERS).gr_gid
        for name in ("conf", "queue", "queue/pid", "data"):
            (self._folder / name).mkdir()
        os.chown(self._folder / "data", owner, 0)
        private = dict.fromkeys(OWNED_FOLDERS.split(), (0, 0o700))
        for name, (group, mode) in {**private, "maildrop": (submitters, 0o730), "public": (submitters, 0o710)}.items():
            folder = self._folder / "queue" / name
            folder.mkdir()
            folder.chmod(mode)
            os.chown(folder, owner, group)
        (self._folder / "conf" / "master.cf").write_text(SERVICES.format(port=self.port))
        self._configure()

    def _configure(self) -> None:
        lines = [f"{name} = {value}\n" for name, value in self._parameters.items()]
        file = self._folder / "conf" / "main.cf"
        file.write_text("".join(lines))
        os.utime(file, (0, 0))  # Postfix waits a second or more for a file that may still be written

    def _answers(self) -> bool:
        assert self._master is not None
        assert self._master.poll() is None, self.log
        with suppress(OSError), create_connection((LOOPBACK, self.port), timeout=TIMEOUT_SECONDS) as line:
            return line.recv(1024).startswith(b"220 ")
        return False


@contextmanager
def postfix(**parameters: str) -> Iterator[Postfix]:
    """
    A running Postfix with these parameters of ``main.cf``.

    It relays for nobody (``mynetworks`` allows it) and delivers nothing
    (``default_transport = smtp:[127.0.0.1]:PORT`` forwards what it accepts to another server).
    """
    with TemporaryDirectory(prefix="postfix-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        running = Postfix(path, free_port(), parameters)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@contextmanager
def passwords(known: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """
    The parameters that make Postfix authenticate these users.

    Source: Dovecot's authentication protocol, version 1, of which Postfix needs PLAIN.
    """

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t1\nDONE\n")
            for line in self.rfile:
                words = line.decode().rstrip("\n").split("\t")
                if words[0] == "AUTH":
                    self.wfile.write(f"{_verdict(words, known)}\n".encode())

    with ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": f"inet:{LOOPBACK}:{server.server_address[1]}",
            }
        finally:
            server.shutdown()
            thread.join()


def _verdict(words: list[str], known: Mapping[str, str]) -> str:
    number, given = words[1], next(word for word in words if word.startswith("resp="))
    _, user, password = b64decode(given.removeprefix("resp=")).decode().split("\0")
    return f"OK\t{number}\tuser={user}" if known.get(user) == password else f"FAIL\t{number}\tuser={user}"
