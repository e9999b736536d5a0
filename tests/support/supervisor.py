"""A supervisor in a process of its own, with fake or real processes of notify that a test can kill."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL, Signals

import psutil

from notify.embedded.commands import COMMANDS, Command
from notify.embedded.data_folder import RunningStack
from notify.embedded.postgres import PostgresServer
from notify.embedded.stack import Stack
from notify.settings import load
from tests.support import fork_server
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
UP = "everything is up"
REAL = "real"
WATCHED = "watched"
WITHOUT_WEB = "without-web"
WEB = Command(name="api", line="python -m http.server {api_port} --bind {api_host}", health="{api_url}/")


def fake_process(behaviour: str, **options: float) -> Command:
    line = f"python -m tests.support.fake_process {behaviour}"
    return Command(name="worker", line=line, environment={"PYTHONPATH": str(ROOT)}, **options)  # type: ignore[arg-type]


class Supervisor:
    """
    A running supervisor, its output, and every process that works for its data folder.

    Args:
        behaviours: Of the fake processes. A fake web server in the API's place is added; it is probed often if WATCHED
            is among them, and fails at once if WITHOUT_WEB is. REAL runs notify itself.
        settings: Environment variables.
    """

    def __init__(self, data_dir: Path, *behaviours: str, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".out")
        self.log.write_bytes(b"")
        environment = {**os.environ, "NOTIFY_DATA_DIR": str(data_dir), **random_ports(), **(settings or {})}
        self.process = fork_server.start("tests.support.supervisor", *behaviours, environment=environment, log=self.log)

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def stack(self) -> RunningStack:
        stack = RunningStack.saved(self.data_dir)
        assert stack is not None, self.output
        return stack

    def until_up(self) -> RunningStack:
        until(lambda: UP in self.output or self.process.poll() is not None, seconds=60)
        assert self.process.poll() is None, self.output
        return self.stack

    def pid(self, name: str) -> int:
        """The pid of the part with this name; 0 while it has none."""
        return next((child.pid for child in self.stack.children if child.name == name), 0)

    def send(self, signal: Signals) -> None:
        """Send it as a terminal does, to the whole process group."""
        os.killpg(self.process.pid, signal)

    def end(self, signal: Signals = SIGINT) -> int:
        """Send the signal and wait for the end; the exit code."""
        self.send(signal)
        return self.process.wait(30)

    def helpers(self) -> list[psutil.Process]:
        """Every live process that works for the data folder, but the supervisor."""
        found = [one for one in psutil.process_iter() if one.pid != self.process.pid and works_for(one, self.data_dir)]
        return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def supervised(data_dir: Path, *behaviours: str, settings: Mapping[str, str] | None = None) -> Iterator[Supervisor]:
    """A running supervisor; whatever the test leaves of it is killed at the end."""
    supervisor = Supervisor(data_dir, *behaviours, settings=settings)
    try:
        supervisor.until_up()
        yield supervisor
    finally:
        if supervisor.process.poll() is None:
            supervisor.end(SIGKILL)
        for helper in supervisor.helpers():
            with suppress(psutil.NoSuchProcess):
                helper.kill()


def works_for(process: psutil.Process, data_dir: Path) -> bool:
    """
    Whether the process works for the data folder.

    The servers replace their command and environment by a title, but their working folder is in it.
    """
    cluster = PostgresServer(data_dir).name
    said: list[Callable[[], str]] = [
        lambda: " ".join(process.cmdline()),
        process.cwd,
        lambda: process.environ().get("NOTIFY_DATA_DIR", ""),
    ]
    for read in said:
        with suppress(psutil.Error):
            if str(data_dir) in (words := read()) or cluster in words:
                return True
    return False


def random_ports() -> dict[str, str]:
    """Ports far from those of a developer's own stack; the supervisor moves on where one is taken."""
    first = 20_000 + os.getpid() % 8_000
    return {
        f"NOTIFY_{name}_PORT": str(first + number * 8_000)
        for number, name in enumerate(("API", "FLOWER", "CATCHER", "INBOX", "FORGE"))
    }


def say_up(_: RunningStack) -> None:
    sys.stdout.write(f"{UP}\n")
    sys.stdout.flush()


def main() -> None:
    """Run a stack until a signal comes."""
    web = replace(WEB, probe_seconds=0.3, stop_seconds=0.5) if WATCHED in sys.argv else WEB
    if WITHOUT_WEB in sys.argv:
        web = replace(fake_process("fails"), name=WEB.name, health=WEB.health)
    behaviours = [behaviour for behaviour in sys.argv[1:] if behaviour not in {WATCHED, WITHOUT_WEB}]
    fake_processes = [web, *(fake_process(behaviour, stop_seconds=0.5) for behaviour in behaviours)]
    Stack(load(env_file=None, completed_later=True), commands=COMMANDS if REAL in sys.argv else fake_processes).run(
        say_up
    )


if __name__ == "__main__":
    main()
