"""Bare senders into the same sink: aiosmtplib with ready bytes, and Postfix's ``smtp-source``."""

import sys
from pathlib import Path
from shutil import which
from subprocess import run
from time import perf_counter

from tests.benchmarks.drained import Miscounted
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.postfix import SOURCE
from tests.benchmarks.peers.race import race
from tests.benchmarks.sample_emails import ready_bytes
from tests.benchmarks.sink import Sink

SESSIONS = 8
PROCESSES = 2
SOURCE_SESSIONS = 10
SENDER, RECIPIENT = "notify@example.com", "person@example.com"
SCRIPT = ROOT / "tests" / "benchmarks" / "peers" / "raw_aiosmtplib.py"


def raw_rate(folder: Path, near: Sink, *, emails: int) -> float:
    """
    Emails a second of aiosmtplib in two processes, with ready bytes.

    Args:
        folder: For the bytes.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    content = folder / "email"
    content.write_bytes(ready_bytes())
    each = emails // PROCESSES
    command = [sys.executable, str(SCRIPT), str(near.port), str(each), str(SESSIONS), str(content)]
    before = near.emails()
    finish = race([command] * PROCESSES)
    _counted(near, before, each * PROCESSES)
    return each * PROCESSES / finish.seconds


def source_rate(near: Sink, *, emails: int) -> float | None:
    """
    Emails a second of ``smtp-source`` with persistent sessions; null where it is not installed.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    if which(SOURCE) is None:
        return None
    before = near.emails()
    options = {"-s": SOURCE_SESSIONS, "-m": emails, "-l": len(ready_bytes()), "-f": SENDER, "-t": RECIPIENT}
    words = [str(part) for pair in options.items() for part in pair]
    began = perf_counter()
    run([SOURCE, "-d", *words, f"127.0.0.1:{near.port}"], check=True, capture_output=True)
    seconds = perf_counter() - began
    _counted(near, before, emails)
    return emails / seconds


def _counted(near: Sink, before: int, sent: int) -> None:
    taken = near.wait_for(before + sent) - before
    if taken != sent:
        raise Miscounted(sent=sent, taken=taken, sink=near.kind)
