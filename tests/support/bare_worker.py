"""One worker process without Celery and without a parent that restarts it: ``python -m tests.support.bare_worker``."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, pause, signal
from subprocess import TimeoutExpired

import psutil

from notify.settings import load
from notify.wiring import STAGE_NAMES
from notify.worker.runtime import Runtime
from tests.support import fork_server
from tests.support.wait import until

GOODBYE_SECONDS = 20


class BareWorker:
    """A running process that a test can kill, freeze and thaw."""

    def __init__(self, process: fork_server.Process) -> None:
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.send_signal(SIGKILL)
        self._process.wait(GOODBYE_SECONDS)

    def freeze(self) -> None:
        """Return when it has stopped."""
        self._process.send_signal(SIGSTOP)
        until(lambda: psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED)

    def thaw(self) -> None:
        self._process.send_signal(SIGCONT)

    def wait_until_dead(self) -> int:
        """The exit code, or the negative number of the signal."""
        return self._process.wait(GOODBYE_SECONDS)

    def leave(self) -> None:
        """Ask it to stop and wait; kill it if it does not."""
        self._process.send_signal(SIGCONT)
        self._process.send_signal(SIGTERM)
        try:
            self._process.wait(GOODBYE_SECONDS)
        except TimeoutExpired:
            self.kill()


@contextmanager
def bare_worker(environment: Mapping[str, str], log: Path) -> Iterator[BareWorker]:
    """
    A process that sweeps both stages until the block ends.

    Args:
        log: The file for its output.
    """
    process = fork_server.start("tests.support.bare_worker", environment=environment, log=log)
    running = BareWorker(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.leave()


def main() -> None:
    """Sweep until told to stop."""
    runtime = Runtime(load(), serves=frozenset(STAGE_NAMES))
    signal(SIGTERM, lambda *_: sys.exit())
    runtime.start()
    try:
        pause()
    finally:
        runtime.stop()


if __name__ == "__main__":
    main()
