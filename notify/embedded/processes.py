"""Child processes: started in a session of their own, watched until ready, stopped in order and within a limit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from os import killpg
from pathlib import Path
from signal import SIGKILL, Signals
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
    The command as a child process, leader of its own session, writing to *log* anew.

    The session keeps a terminal's Ctrl-C from it, so that whoever started it stops it in order.
    """
    with log.open("wb") as output:
        return Popen(command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=env, start_new_session=True)  # noqa: S603


def wait_until_ready(process: Popen[bytes], probe: Callable[[], bool], *, log: Path, seconds: float) -> None:
    """Return as soon as *probe* says yes; the process may neither end before that nor take longer."""
    end = monotonic() + seconds
    while not probe():
        exited = process.poll() is not None
        if exited or monotonic() > end:
            raise ServerDidNotStart(command=str(process.args), log=log, exit_code=process.returncode)
        try:
            process.wait(POLL_SECONDS)
        except TimeoutExpired:
            continue


def wait_until_done(process: Popen[bytes], *, log: Path, seconds: float) -> None:
    with suppress(TimeoutExpired):
        process.wait(seconds)
    if process.returncode != 0:
        raise ServerDidNotStart(command=str(process.args), log=log, exit_code=process.returncode)


def stop(process: Popen[bytes], *steps: tuple[Signals, float]) -> None:
    """
    End a process that was started here as leader of its group, and what it left in the group.

    Each step is a signal and the seconds it is given; when none of them helps, the group is killed. Harmless
    when the process is gone.
    """
    for signal, seconds in steps:
        if process.poll() is None:
            process.send_signal(signal)
            with suppress(TimeoutExpired):
                process.wait(seconds)
    with suppress(ProcessLookupError):
        killpg(process.pid, SIGKILL)
    process.wait(KILLED_SECONDS)


def wait_for_the_end(process: psutil.Process, seconds: float) -> None:
    """Return when a process that is not our child is dead, reaped or not, or the time is over."""
    end = monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while monotonic() < end and process.status() != psutil.STATUS_ZOMBIE:
            sleep(POLL_SECONDS)


def last_lines(log: Path) -> str:
    """The end of a log, for an error message; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LAST_LINES:])
