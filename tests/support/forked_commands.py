"""
Runs ``notify`` in processes forked from one that has imported every command: imports take most of a command's time.

``python -m tests.support.forked_commands`` is that process. The program ``notify`` of ``forking_environment`` hands it
the arguments, the environment, the folder and the three streams, and ends with the command's exit code. One command
runs at a time.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryDirectory

from notify.cli import main
from notify.cli.commands import COMMANDS
from tests.support import fork_server

STREAMS = (0, 1, 2)
LONGEST = 1 << 20
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(server, [call], {streams})
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16)))
"""


@contextmanager
def forking_environment() -> Iterator[Path]:
    """The folder of an environment like this process's own, in which ``notify`` is forked."""
    with TemporaryDirectory(prefix="notify-") as name:
        folder, address = Path(name) / "environment", f"{name}/socket"
        (folder / "bin").mkdir(parents=True)
        ours = Path(sys.prefix)
        for path in [*ours.iterdir(), *(ours / "bin").iterdir()]:
            if path.name not in {"bin", "notify"}:
                (folder / path.relative_to(ours)).symlink_to(path)
        client = folder / "bin" / "notify"
        client.write_text(CLIENT.format(python=sys.executable, address=address, streams=STREAMS))
        client.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.listen()
            log = Path(name) / "log"
            server = fork_server.start(__name__, "{fd}", environment=os.environ, log=log, listening=listening)
        try:
            yield folder
        finally:
            server.send_signal(SIGTERM)
            server.wait()


def serve(listening: socket.socket) -> None:
    """Fork for one call after the other; returns in each process that is to become a command."""
    while True:
        connection, _ = listening.accept()
        with connection:
            command = os.fork()
            if not command:
                listening.close()
                become(connection)
                return
            _, status = os.waitpid(command, 0)
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def become(connection: socket.socket) -> None:
    """Take over what the client has sent."""
    call, streams, *_ = socket.recv_fds(connection, LONGEST, len(STREAMS))
    while more := connection.recv(LONGEST):
        call += more
    sys.argv[:], variables, folder = json.loads(call)
    for stream, given in zip(STREAMS, streams, strict=True):
        os.dup2(given, stream)
        os.close(given)
    sys.stdin = os.fdopen(0, encoding="utf-8")  # that of a process of the fork server reads nothing
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


if __name__ == "__main__":
    for target in COMMANDS.values():
        import_module(f"notify.cli.{target.partition('.')[0]}")
    serve(socket.socket(fileno=int(sys.argv[1])))
    main()
