"""Where the emails are counted: Postfix's C ``smtp-sink`` if available, else our own sink."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import geteuid
from pathlib import Path
from re import findall
from shutil import which
from signal import SIGTERM
from subprocess import Popen

from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import spawn, stop, wait_until_ready
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers import postfix
from tests.support.wait import until

OWN = "asyncio sink"
UNPRIVILEGED = "nobody"
START_SECONDS = 20
STOP_SECONDS = 5
LONGEST_WAIT_SECONDS = 60
TAIL_BYTES = 200


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """Accepted emails, different ones among them, and when the requested one was answered, in monotonic seconds."""

    emails: int
    different: int
    answered_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A relay that accepts everything. ``kind`` names the program."""

    kind: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The sink as ``NOTIFY_SMTP_URL``."""
        return f"smtp://{LOOPBACK}:{self.port}"

    def emails(self) -> int:
        """How many it has accepted."""
        if self.kind == OWN:
            return self.ask().emails
        return _count(self.log)

    def wait_for(self, emails: int) -> int:
        """How many it has accepted, once there are this many: a C sink's log may be a moment behind."""
        with suppress(AssertionError):
            until(lambda: self.emails() >= emails, seconds=START_SECONDS)
        return self.emails()

    def ask(self, *, least: int = 0) -> SinkCounts:
        """Details that only our own sink knows, once it has accepted this many."""
        line = socket.create_connection((LOOPBACK, self.port), timeout=LONGEST_WAIT_SECONDS)
        with line, line.makefile("rb") as answers:
            answers.readline()
            line.sendall(f"STAT {least}\r\n".encode())
            _, emails, different, at = answers.readline().decode().split()
        return SinkCounts(int(emails), int(different), float(at))


@contextmanager
def sink(folder: Path, *, delay: float = 0.0, pipelining: bool = True, own: bool = False) -> Iterator[Sink]:
    """
    A sink in its own process.

    Args:
        folder: For its log.
        delay: Seconds before each answer; the C sink cannot wait so briefly, so this takes our own.
        own: Use our own in any case: it knows names and instants.
    """
    port = free_port()
    kind = OWN if own or delay or not which(postfix.SINK) else postfix.SINK
    log = folder / f"sink-{port}.log"
    command = _own(port, delay=delay, pipelining=pipelining) if kind == OWN else _c(port, pipelining=pipelining)
    process: Popen[bytes] = spawn(command, log=log)
    try:
        wait_until_ready(process, lambda: _answers(port), log=log, seconds=START_SECONDS)
        yield Sink(kind=kind, port=port, log=log)
    finally:
        stop(process, (SIGTERM, STOP_SECONDS))


def _own(port: int, *, delay: float, pipelining: bool) -> list[str]:
    plain = [] if pipelining else ["--no-pipelining"]
    file = ROOT / "tests" / "benchmarks" / "asyncio_sink.py"
    return [sys.executable, str(file), str(port), "--delay", str(delay), *plain]


def _c(port: int, *, pipelining: bool) -> list[str]:
    account = ["-u", UNPRIVILEGED] if geteuid() == 0 else []
    plain = [] if pipelining else ["-p"]
    return [postfix.SINK, *account, *plain, "-c", f"{LOOPBACK}:{port}", "1000"]


def _count(log: Path) -> int:
    """The last of the running counters, which follow each other on one line."""
    with log.open("rb") as written:
        written.seek(max(0, log.stat().st_size - TAIL_BYTES))
        found = findall(rb"mesg=(\d+)\r", written.read())
    return int(found[-1]) if found else 0


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
