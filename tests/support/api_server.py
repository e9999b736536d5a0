"""The API behind a real server, started by the command that production uses."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

from notify.embedded.commands import COMMANDS

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 30
APPLICATION = "notify.api.app:create_app"


@contextmanager
def served(
    environment: Mapping[str, str], log: Path, *, application: str = APPLICATION, options: tuple[str, ...] = ()
) -> Iterator[str]:
    """The address of a server; a caller that comes before it has started waits in the socket's queue."""
    with create_server(("127.0.0.1", 0), backlog=2048) as listening, log.open("wb") as output:
        process = subprocess.Popen(
            [*_command(application), "--fd", str(listening.fileno()), *options],
            env={**environment, "PYTHONPATH": str(ROOT)},
            pass_fds=[listening.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT_SECONDS)
            finally:
                process.kill()


def _command(application: str) -> list[str]:
    """The production command, except for where it listens."""
    (api,) = (one for one in COMMANDS if one.name == "api")
    _, *words = api.line.split()
    listens = {"--host", "{api_host}", "--port", "{api_port}"}
    return [sys.executable, *(application if word == APPLICATION else word for word in words if word not in listens)]
