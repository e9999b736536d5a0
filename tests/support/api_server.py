"""The API behind a real server, started by the command that production uses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from socket import create_server

from notify.embedded.commands import COMMANDS
from tests.support import fork_server

TIMEOUT_SECONDS = 30
APPLICATION = "notify.api.app:create_app"


@contextmanager
def served(
    environment: Mapping[str, str],
    log: Path,
    *,
    application: str = APPLICATION,
    options: tuple[str, ...] = (),
    start: fork_server.Start = fork_server.start,
) -> Iterator[str]:
    """
    The address of a server; a caller that comes before it has started waits in the socket's queue.

    Args:
        start: ``fork_server.spawn`` where its times are measured.
    """
    module, *words = _command(application)
    with create_server(("127.0.0.1", 0), backlog=2048) as listening:
        process = start(module, *words, "--fd", "{fd}", *options, environment=environment, log=log, listening=listening)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.send_signal(SIGTERM)
            try:
                process.wait(TIMEOUT_SECONDS)
            finally:
                process.send_signal(SIGKILL)


def _command(application: str) -> list[str]:
    """The module and arguments of production, except for where it listens."""
    (api,) = (one for one in COMMANDS if one.name == "api")
    _, _, *words = api.line.split()
    listens = {"--host", "{api_host}", "--port", "{api_port}"}
    return [application if word == APPLICATION else word for word in words if word not in listens]
