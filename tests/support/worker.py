"""A real Celery worker of notify in its own processes, to be watched, stopped or killed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import killpg
from pathlib import Path
from signal import SIGKILL, SIGTERM
from subprocess import TimeoutExpired

import psutil

from notify.domain.ports import Doorbell
from notify.domain.stages import DELIVER
from tests.support import fork_server
from tests.support.wait import until

STOP_SECONDS = 40
TASK_ENDED = "succeeded in"


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """The worker's parent process and its log."""

    process: fork_server.Process
    log: Path
    processes: int = 2

    @property
    def children(self) -> list[int]:
        """The pids of its child processes."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def wait_until_ready(self) -> None:
        """Return when all of its processes sweep."""
        until(lambda: self._logged("worker.ready") >= self.processes, seconds=60)

    def wait_until_serving(self) -> None:
        """Return when Celery consumes as well; fails if one of its processes dies before that."""
        until(lambda: self._logged(" ready."), seconds=60)
        self.wait_until_ready()

    def _logged(self, words: str) -> int:
        """How often; fails if it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count(words)

    def wait_until_doorbells_arrive(self, doorbell: Doorbell) -> None:
        """Return when a task has ended that was sent after this was called, so that both ends are connected."""
        before = self.log.read_text().count(TASK_ENDED)

        def arrived() -> bool:
            doorbell.ring(DELIVER)
            doorbell.flush(at_most_seconds=5)
            return self.log.read_text().count(TASK_ENDED) > before

        until(arrived, seconds=60)

    def kill_one_child(self) -> int:
        """Kill one child, as the kernel would when memory runs out; its pid."""
        victim = self.children[0]
        psutil.Process(victim).kill()
        return victim

    def vanish(self) -> None:
        """Kill all of its processes at once, if it still runs."""
        if self.process.poll() is None:
            killpg(self.process.pid, SIGKILL)
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Ask it to stop and wait; its exit code."""
        self.process.send_signal(SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def worker(
    environment: Mapping[str, str],
    folder: Path,
    *,
    processes: int = 2,
    include: str | None = None,
    name: str | None = None,
    start: fork_server.Start = fork_server.start,
) -> Iterator[RunningWorker]:
    """
    A prefork worker on every queue, which may not be working yet.

    Args:
        folder: For its log.
        include: A module with a test's own tasks.
        name: Celery's name for it; None: the one that it takes by itself.
        start: ``fork_server.spawn`` for tests of what a worker does before it serves.
    """
    log = folder / "worker.log"
    log.write_bytes(b"")
    given = {"--concurrency": str(processes), "--include": include, "--hostname": name}
    options = ("-E", *(word for option, value in given.items() if value for word in (option, value)))
    process = start("notify.worker", *options, environment={**environment, "NOTIFY_LOG_FORMAT": "json"}, log=log)
    running = RunningWorker(process, log, processes)
    try:
        yield running
    finally:
        if process.poll() is None:
            try:
                running.stop()
            except TimeoutExpired:
                killpg(process.pid, SIGKILL)
                process.wait(STOP_SECONDS)
