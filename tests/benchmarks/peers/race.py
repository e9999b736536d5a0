"""Processes that are ready first and go at one word, so that no start-up is measured."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO

from notify.domain.errors import NotifyError


class PeerFailed(NotifyError):
    """What notify is measured beside did not work."""


class StoppedShort(NotifyError):
    """A process ended before it said what was awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How long until the last was done, and what they say their processors did."""

    seconds: float
    cpu_seconds: float


def race(commands: Sequence[Sequence[str]]) -> Finish:
    """
    Start all, wait until all are ready, say go, and wait until all are done.

    Raises:
        PeerFailed: One ended before it was done; with the end of what it wrote to standard error.
    """
    with TemporaryFile() as errors, _started(commands, errors) as running:
        try:
            return _raced(running)
        except StoppedShort as short:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip().splitlines()
            raise PeerFailed(**short.facts, last_words=words[-1] if words else "") from None


def _raced(running: Sequence[Popen[str]]) -> Finish:
    for one in running:
        _expect(one, "ready")
    began = perf_counter()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    spent = [float(_expect(one, "done")) for one in running]
    return Finish(seconds=perf_counter() - began, cpu_seconds=sum(spent))


@contextmanager
def _started(commands: Sequence[Sequence[str]], errors: IO[bytes]) -> Iterator[list[Popen[str]]]:
    running = [Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True) for command in commands]
    try:
        yield running
    finally:
        for one in running:
            one.communicate()


def _expect(process: Popen[str], word: str) -> str:
    """What follows the word on the line that it begins."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise StoppedShort(awaited=word)
