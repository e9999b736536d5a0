"""Keeps one program running: it is restarted when it ends or hangs."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from signal import Signals
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from threading import Thread
from time import monotonic, sleep
from typing import IO, Protocol
from urllib.request import ProxyHandler, build_opener

from notify.embedded.commands import Command
from notify.embedded.processes import ServerDidNotStart, stop

QUICK_SECONDS = 10
MANY_QUICK_ENDS = 5
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30
DRAIN_SECONDS = 1
START_PROBE_SECONDS = 0.2
START_PROBES = 300
UNANSWERED_PROBES = 4

Say = Callable[[str, str], None]
"""Called with the name of a program and a line about it or from it."""


class Program(Protocol):
    """A program that can be restarted."""

    process: Popen[bytes] | None

    def start(self) -> None:
        """May raise ServerDidNotStart."""

    def stop(self) -> None:
        """Does nothing if it is not running."""


class NotifyProcess:
    """One of notify's own processes. Its output goes to *say*."""

    def __init__(
        self, command: Command, facts: Mapping[str, object], *, environment: Mapping[str, str], say: Say
    ) -> None:
        self.process: Popen[bytes] | None = None
        self._command = command
        self._argv = command.argv(**facts)
        self._environment = {**environment, **command.environment}
        self._say = say
        self._output: Thread | None = None

    def start(self) -> None:
        """Start it in a session of its own, so that a terminal's Ctrl-C does not reach it."""
        self.process = Popen(  # noqa: S603
            self._argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=self._environment, start_new_session=True
        )
        self._output = Thread(target=self._pass_on, args=[self.process.stdout], daemon=True)
        self._output.start()

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        stop(process, (self._command.stop_signal, self._command.stop_seconds))
        if self._output is not None:
            self._output.join(DRAIN_SECONDS)

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                if words := line.decode("utf-8", "replace").rstrip():
                    self._say(self._command.name, words)


class Supervised:
    """
    A program that runs as long as the stack does.

    It is restarted a quarter of a second after it ends. The delay doubles, up to half a minute, each time that it ends
    within ten seconds. If it stops answering at *health*, it is stopped and restarted in the same way. Failed probes
    are counted instead of seconds: a supervisor that was suspended must not restart everything when it resumes.

    Args:
        health: The URL to probe. None: it is not probed.
        probe_seconds: Interval between probes, and the timeout of one.
    """

    def __init__(
        self, name: str, program: Program, *, say: Say, health: str | None = None, probe_seconds: float = 5
    ) -> None:
        self.name = name
        self.program = program
        self.health = health
        self._probe_seconds = probe_seconds
        self._say = say
        self._answered = False
        self._unanswered = 0
        self._started_at = 0.0
        self._quick_ends = 0
        self._restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        process = self.program.process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def is_up(self) -> bool:
        """Whether it is running and, if it is probed, has answered."""
        return self.pid is not None and (self._answered or not self.health)

    @property
    def keeps_ending(self) -> bool:
        """Whether it has ended five times in a row soon after its start, so that it must be misconfigured."""
        return self._quick_ends >= MANY_QUICK_ENDS

    def start(self) -> None:
        self._restart_at = None
        self._started_at = monotonic()
        self._answered, self._unanswered = False, -START_PROBES
        self.program.start()
        if self.health:
            Thread(target=self._probe, args=[self.program.process, self.health], daemon=True).start()

    def stop(self) -> None:
        self._restart_at = None
        self.program.stop()

    def watch(self) -> bool:
        """Restart it if it has ended and its delay is over; stop it if it hangs. True if it was restarted."""
        if self._restart_at is not None:
            return monotonic() >= self._restart_at and self._restart()
        process = self.program.process
        if process is not None and (code := process.poll()) is not None:
            self._ended(f"ended with {_reason(code)}")
        elif self._unanswered >= UNANSWERED_PROBES:
            self._ended("no longer answers")
        return False

    def _restart(self) -> bool:
        try:
            self.start()
        except ServerDidNotStart as error:
            self._ended(f"does not start: {error}\n")
            return False
        return True

    def _ended(self, words: str) -> None:
        quick = monotonic() - self._started_at < QUICK_SECONDS
        self._quick_ends = self._quick_ends + 1 if quick else 0
        self.stop()
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** max(self._quick_ends - 1, 0))
        self._restart_at = monotonic() + delay
        often = f", {self._quick_ends} times in a row" if self._quick_ends > 1 else ""
        self._say(self.name, f"{words}{often}; starting it again in {delay:g} s")

    def _probe(self, process: Popen[bytes], url: str) -> None:
        """Probe in a thread, so that a process that hangs blocks nobody."""
        while self.program.process is process:
            answered = _answers(url, self._probe_seconds)
            if self.program.process is process:
                self._answered |= answered
                self._unanswered = 0 if answered else self._unanswered + 1
            sleep(self._probe_seconds if self._answered else START_PROBE_SECONDS)


def _answers(url: str, seconds: float) -> bool:
    try:
        build_opener(ProxyHandler({})).open(url, timeout=seconds).close()
    except (OSError, HTTPException):
        return False
    return True


def _reason(code: int) -> str:
    """The exit code, or the name of the signal."""
    if code < 0:
        with suppress(ValueError):
            return Signals(-code).name
    return f"exit code {code}"
