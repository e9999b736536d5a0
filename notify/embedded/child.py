"""A child of the supervisor: its output goes under its name, and it is started again when it ends or hangs."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from signal import Signals
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from threading import Thread
from time import monotonic, sleep
from urllib.request import ProxyHandler, build_opener

from notify.domain.errors import NotifyError
from notify.embedded.commands import Command
from notify.embedded.processes import stop

QUICK_SECONDS = 10
MANY_QUICK_ENDS = 5
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30
DRAIN_SECONDS = 1
LOOK_SECONDS = 0.2
PATIENCE_AT_START = 300  # looks
UNANSWERED = 4

Say = Callable[[str, str], None]
"""Takes the name of a process and a line about it or from it."""


class ChildKeepsEnding(NotifyError):
    """A process that the stack cannot come up without ends again and again right after its start."""


class Child:
    """
    A process that should run for as long as the stack does.

    One that ends is started again, after a quarter of a second, then after twice as long each time that it ended within
    ten seconds, up to half a minute. One that no longer answers is ended, and started again like that. Questions are
    counted and not seconds: a supervisor that was stopped for a while asks before it judges.

    Args:
        facts: What the command names.
    """

    def __init__(
        self, command: Command, facts: Mapping[str, object], *, environment: Mapping[str, str], say: Say
    ) -> None:
        self.name = command.name
        self.argv = command.argv(**facts)
        self.health = command.health and command.health.format(**facts)
        self.process: Popen[bytes] | None = None
        self._command = command
        self._environment = environment
        self._say = say
        self._output: Thread | None = None
        self._answered = False
        self._unanswered = 0
        self._started_at = 0.0
        self._quick_ends = 0
        self._start_again_at: float | None = None

    def start(self) -> None:
        """Start it in a group of its own, out of reach of a terminal's Ctrl-C."""
        self._start_again_at = None
        self._started_at = monotonic()
        self._answered, self._unanswered = False, -PATIENCE_AT_START
        self.process = Popen(  # noqa: S603
            self.argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=self._environment, start_new_session=True
        )
        self._output = Thread(target=self._pass_on, args=[self.process], name=f"output of {self.name}", daemon=True)
        self._output.start()
        if self.health:
            args = [self.process, self.health]
            Thread(target=self._ask_on, args=args, name=f"health of {self.name}", daemon=True).start()

    @property
    def keeps_ending(self) -> bool:
        """Whether it has ended so often in a row, right after its start, that it seems a mistake."""
        return self._quick_ends >= MANY_QUICK_ENDS

    @property
    def is_up(self) -> bool:
        """Whether it runs and, if it can be asked, has answered."""
        return self.process is not None and self.process.poll() is None and (self._answered or not self.health)

    def watch(self) -> bool:
        """Start it again if it ended and its time has come, and end it if it hangs; True when it was started."""
        if self._start_again_at is not None:
            if monotonic() < self._start_again_at:
                return False
            self.start()
            return True
        if self.process is not None and self.process.poll() is not None:
            self._ended(f"ended with {how(self.process.returncode)}")
        elif self._unanswered >= UNANSWERED:
            self._ended("no longer answers")
        return False

    def stop(self) -> None:
        """Ask it to end, wait, and kill what is left of its group; harmless when it is gone."""
        process, self.process = self.process, None
        self._start_again_at = None
        if process is None:
            return
        stop(process, (self._command.stop_signal, self._command.stop_seconds))
        if self._output is not None:
            self._output.join(DRAIN_SECONDS)
        if process.stdout is not None and not (self._output and self._output.is_alive()):
            process.stdout.close()

    def _ended(self, words: str) -> None:
        quick = monotonic() - self._started_at < QUICK_SECONDS
        self._quick_ends = self._quick_ends + 1 if quick else 0
        self.stop()
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** max(self._quick_ends - 1, 0))
        self._start_again_at = monotonic() + delay
        often = f", {self._quick_ends} times in a row" if self._quick_ends > 1 else ""
        self._say(self.name, f"{words}{often}; starting it again in {delay:g} s")

    def _pass_on(self, process: Popen[bytes]) -> None:
        if process.stdout is not None:
            for line in process.stdout:
                if words := line.decode("utf-8", "replace").rstrip():
                    self._say(self.name, words)

    def _ask_on(self, process: Popen[bytes], url: str) -> None:
        """Ask from a thread, so that nobody waits for a process that hangs."""
        while self.process is process:
            answered = _answers(url, self._command.probe_seconds)
            if self.process is process:
                self._answered |= answered
                self._unanswered = 0 if answered else self._unanswered + 1
            sleep(self._command.probe_seconds if self._answered else LOOK_SECONDS)


def _answers(url: str, seconds: float) -> bool:
    try:
        build_opener(ProxyHandler({})).open(url, timeout=seconds).close()
    except (OSError, HTTPException):
        return False
    return True


def how(code: int) -> str:
    """The exit code in words, the signal's name if it was one."""
    if code < 0:
        with suppress(ValueError):
            return Signals(-code).name
    return f"exit code {code}"
