"""Processes that get ready and then start together, so that no start-up is measured."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO

from notify.domain.errors import NotifyError


class PeerFailed(NotifyError):
    """A program that notify is compared with failed."""


class StoppedShort(NotifyError):
    """A process ended before it printed the expected word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How long until the last was done, and the processor time they report."""

    seconds: float
    cpu_seconds: float


def race(commands: Sequence[Sequence[str]]) -> Finish:
    """
    Start all, wait until all are ready, give the start signal, and wait until all are done.

    Raises:
        PeerFailed: One ended before it was done.
    """
    with ready(commands) as running:
        began = perf_counter()
        for one in running:
            go(one)
        spent = [float(expect(one, "done")) for one in running]
        return Finish(seconds=perf_counter() - began, cpu_seconds=sum(spent))


@contextmanager
def ready(
    commands: Sequence[Sequence[str]], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[list[Popen[str]]]:
    """
    Processes that have reported ready; all have ended after the block.

    Raises:
        PeerFailed: One ended before it printed the expected word; with the end of its standard error.
    """
    with TemporaryFile() as errors, _started(commands, errors, folder, environment) as running:
        try:
            for one in running:
                expect(one, "ready")
            yield running
        except StoppedShort as short:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip().splitlines()
            raise PeerFailed(**short.facts, last_words=words[-1] if words else "") from None


def go(process: Popen[str]) -> None:
    """Give the start signal."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def expect(process: Popen[str], word: str) -> str:
    """
    The rest of the line that begins with this word.

    Raises:
        StoppedShort: The process ended before.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise StoppedShort(awaited=word)


@contextmanager
def _started(
    commands: Sequence[Sequence[str]], errors: IO[bytes], folder: Path | None, environment: Mapping[str, str] | None
) -> Iterator[list[Popen[str]]]:
    running = [
        Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True, cwd=folder, env=environment)
        for command in commands
    ]
    try:
        yield running
    finally:
        for one in running:
            one.communicate()
