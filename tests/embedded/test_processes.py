"""A child process that is to do one thing: it has done it, it failed, or it takes too long."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from notify.embedded.processes import ServerDidNotStart, spawn, stop, wait_until_done

DONE = "print('did it')"
FAILED = "import sys; print('could not'); sys.exit(7)"
FOR_EVER = "import signal; print('at it', flush=True); signal.pause()"
LONG, SHORT = 20.0, 0.2

Begin = Callable[[str], Popen[bytes]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def begin(log: Path) -> Iterator[Begin]:
    """Starts Python code as a child process, which is gone at the end."""
    begun: list[Popen[bytes]] = []

    def start(code: str) -> Popen[bytes]:
        begun.append(spawn([sys.executable, "-c", code], log=log))
        return begun[-1]

    yield start
    for process in begun:
        stop(process)


@pytest.mark.parametrize("already", [False, True], ids=["while it runs", "afterwards"])
def test_whoever_waits_goes_on_when_the_work_is_done(begin: Begin, log: Path, *, already: bool) -> None:
    process = begin(DONE)
    if already:
        process.wait(LONG)
    wait_until_done(process, log=log, seconds=LONG)
    assert process.returncode == 0
    assert log.read_text() == "did it\n"


@pytest.mark.parametrize(("code", "seconds", "exit_code"), [(FAILED, LONG, 7), (FOR_EVER, SHORT, None)])
def test_work_that_fails_or_takes_too_long_is_told_with_its_exit_code(
    begin: Begin, log: Path, code: str, seconds: float, exit_code: int | None
) -> None:
    with pytest.raises(ServerDidNotStart) as told:
        wait_until_done(begin(code), log=log, seconds=seconds)
    assert told.value.facts["exit_code"] == exit_code


def test_what_it_said_last_is_told_too(begin: Begin, log: Path) -> None:
    with pytest.raises(ServerDidNotStart, match="could not"):
        wait_until_done(begin(FAILED), log=log, seconds=LONG)
