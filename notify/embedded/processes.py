"""Starts child processes in sessions of their own, waits until they are ready, and ends them within a time limit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from os import killpg
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from time import monotonic, sleep

import psutil

from notify.domain.errors import NotifyError

POLL_SECONDS = 0.02
KILLED_SECONDS = 10
LAST_LINES = 20


class ServerDidNotStart(NotifyError):
    """An embedded server did not start; the end of its log says why."""

    def __init__(self, *, command: str, log: Path, exit_code: int | None) -> None:
        super().__init__(command=command, log=str(log), exit_code=exit_code)
        self.last_lines = last_lines(log)

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.last_lines}"


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Popen[bytes]:
    """
    Start the command as a child process that overwrites *log*.

    It leads a session of its own: a terminal's Ctrl-C does not reach it, so its parent can stop it in order.
    """
    with log.open("wb") as output:
        return Popen(command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=env, start_new_session=True)  # noqa: S603


def wait_until_ready(process: Popen[bytes], probe: Callable[[], bool], *, log: Path, seconds: float) -> None:
    """
    Return as soon as *probe* returns True.

    Raises:
        ServerDidNotStart: The process ended, or *seconds* have passed.
    """
    end = monotonic() + seconds
    while not probe():
        if process.poll() is not None or monotonic() > end:
            raise ServerDidNotStart(command=str(process.args), log=log, exit_code=process.returncode)
        with suppress(TimeoutExpired):
            process.wait(POLL_SECONDS)


def stop(process: Popen[bytes], *steps: tuple[Signals, float]) -> None:
    """
    End a child that ``spawn`` started, and its process group. Does nothing if it has ended.

    Each step is a signal and how many seconds to wait after it. At the end the group is killed.
    """
    for signal, seconds in steps:
        if process.poll() is None:
            process.send_signal(signal)
            with suppress(TimeoutExpired):
                process.wait(seconds)
    with suppress(ProcessLookupError):
        killpg(process.pid, SIGKILL)
    process.wait(KILLED_SECONDS)


def end_all(processes: Sequence[psutil.Process], signal: Signals = SIGTERM, *, seconds: float) -> None:
    """Send a signal to processes that are not our children, wait *seconds* for all, then kill their groups."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
    end = monotonic() + seconds
    for process in processes:
        _wait_until_dead(process, end - monotonic())
        with suppress(ProcessLookupError):
            killpg(process.pid, SIGKILL)
        _wait_until_dead(process, KILLED_SECONDS)


def last_lines(log: Path) -> str:
    """The end of a log, for an error message. Empty if there is no log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LAST_LINES:])


def _wait_until_dead(process: psutil.Process, seconds: float) -> None:
    """Return when the process has ended (a zombie counts) or the time is over."""
    end = monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while monotonic() < end and process.status() != psutil.STATUS_ZOMBIE:
            sleep(POLL_SECONDS)
