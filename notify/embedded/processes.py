"""Other processes: started as leaders of sessions of their own, watched until ready, ended within a limit."""

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
    """An embedded server did not come up; the end of its log says why."""

    def __init__(self, *, command: str, log: Path, exit_code: int | None) -> None:
        super().__init__(command=command, log=str(log), exit_code=exit_code)
        self.last_lines = last_lines(log)

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.last_lines}"


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Popen[bytes]:
    """
    The command as a child process, writing to *log* anew.

    It leads a session of its own, so that a terminal's Ctrl-C does not reach it and its parent stops it in order.
    """
    with log.open("wb") as output:
        return Popen(command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=env, start_new_session=True)  # noqa: S603


def wait_until_ready(process: Popen[bytes], probe: Callable[[], bool], *, log: Path, seconds: float) -> None:
    """
    Return as soon as *probe* says yes.

    Raises:
        ServerDidNotStart: The process ended before that, or took longer.
    """
    end = monotonic() + seconds
    while not probe():
        if process.poll() is not None or monotonic() > end:
            raise ServerDidNotStart(command=str(process.args), log=log, exit_code=process.returncode)
        with suppress(TimeoutExpired):
            process.wait(POLL_SECONDS)


def stop(process: Popen[bytes], *steps: tuple[Signals, float]) -> None:
    """
    End a child that was started as leader of its group, and what it left in the group; harmless when it is gone.

    Each step is a signal and the seconds it is given; when none of them helps, the group is killed.
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
    """Signal processes that are not our children, give them the same time, then kill what is left of their groups."""
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
    """The end of a log, for an error message; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LAST_LINES:])


def _wait_until_dead(process: psutil.Process, seconds: float) -> None:
    """Return when the process is gone, or a zombie that nobody reaps, or the time is over."""
    end = monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while monotonic() < end and process.status() != psutil.STATUS_ZOMBIE:
            sleep(POLL_SECONDS)
