"""A child of the supervisor: its output goes under its name, and it is started again when it ends."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from signal import SIGTERM, Signals
from socket import create_connection
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from threading import Thread
from time import monotonic

from notify.domain.errors import NotifyError
from notify.embedded.processes import stop
from notify.embedded.pulse import Pulse

QUICK_SECONDS = 10
MANY_QUICK_ENDS = 5
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30
DRAIN_SECONDS = 1

Say = Callable[[str, str], None]
"""Takes the name of a process and a line about it or from it."""


class ChildKeepsEnding(NotifyError):
    """A process that the stack cannot come up without ends again and again right after its start."""


class Child:
    """
    A process that should run for as long as the stack does.

    One that ends is started again, after a quarter of a second, then after twice as long each time that it ended within
    ten seconds, up to half a minute. One that no longer answers is ended, and started again like that.

    Args:
        address: The host and the port where it answers once it is up; None if it does not.
        health: The URL that answers while it does well; None if nothing does.
        probe_seconds: How often it is asked, and how long an answer may take.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        say: Say,
        address: tuple[str, int] | None = None,
        health: str | None = None,
        probe_seconds: float = 5,
        stop_signal: Signals = SIGTERM,
        stop_seconds: float = 5,
    ) -> None:
        self.name = name
        self.argv = argv
        self.environment = environment
        self.say = say
        self.address = address
        self.health = health
        self.probe_seconds = probe_seconds
        self.stop_signal = stop_signal
        self.stop_seconds = stop_seconds
        self.process: Popen[bytes] | None = None
        self._output: Thread | None = None
        self._pulse: Pulse | None = None
        self._started_at = 0.0
        self._quick_ends = 0
        self._start_again_at: float | None = None

    def start(self) -> None:
        """Start it in a group of its own, out of reach of a terminal's Ctrl-C."""
        self._start_again_at = None
        self._started_at = monotonic()
        self.process = Popen(  # noqa: S603
            self.argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=self.environment, start_new_session=True
        )
        self._output = Thread(target=self._pass_on, args=[self.process], name=f"output of {self.name}", daemon=True)
        self._output.start()
        if self.health is not None:
            self._pulse = Pulse(self.health, seconds=self.probe_seconds)
            self._pulse.start()

    @property
    def keeps_ending(self) -> bool:
        """Whether it has ended so often in a row, right after its start, that it seems a mistake."""
        return self._quick_ends >= MANY_QUICK_ENDS

    def watch(self) -> bool:
        """Start it again if it ended and its time has come, and end it if it hangs; True when it was started."""
        if self._start_again_at is not None:
            if monotonic() < self._start_again_at:
                return False
            self.start()
            return True
        if self.process is not None and self.process.poll() is not None:
            self._ended(f"ended with {how(self.process.returncode)}")
        elif self._pulse is not None and self._pulse.stopped:
            self._ended("no longer answers")
        return False

    def answers(self) -> bool:
        """Whether it is up, as far as that can be seen from outside."""
        if self.process is None or self.process.poll() is not None:
            return False
        if self.address is None:
            return True
        try:
            create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Ask it to end, wait, and kill what is left of its group; harmless when it is gone."""
        process, self.process = self.process, None
        self._start_again_at = None
        if self._pulse is not None:
            self._pulse.end()
        if process is not None:
            stop(process, (self.stop_signal, self.stop_seconds))
            self._close_output(process)

    def _ended(self, words: str) -> None:
        quick = monotonic() - self._started_at < QUICK_SECONDS
        self._quick_ends = self._quick_ends + 1 if quick else 0
        self.stop()
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** max(self._quick_ends - 1, 0))
        self._start_again_at = monotonic() + delay
        often = f", {self._quick_ends} times in a row" if self._quick_ends > 1 else ""
        self.say(self.name, f"{words}{often}; starting it again in {delay:g} s")

    def _pass_on(self, process: Popen[bytes]) -> None:
        if process.stdout is not None:
            for line in process.stdout:
                if words := line.decode("utf-8", "replace").rstrip():
                    self.say(self.name, words)

    def _close_output(self, process: Popen[bytes]) -> None:
        if self._output is not None:
            self._output.join(DRAIN_SECONDS)
        if process.stdout is not None and not (self._output and self._output.is_alive()):
            process.stdout.close()


def how(code: int) -> str:
    """The exit code in words, the signal's name if it was one."""
    if code < 0:
        with suppress(ValueError):
            return Signals(-code).name
    return f"exit code {code}"
