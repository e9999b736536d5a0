"""Who works on a data folder: one process at a time, and what it says about itself to the others."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep
from typing import Self, TextIO

import psutil
from pydantic import TypeAdapter

from notify.domain.errors import NotifyError
from notify.embedded.private import write_private
from notify.embedded.processes import POLL_SECONDS, wait_for_the_end

LOCK_FILE = "lock"
STACK_FILE = "stack.json"
CLOCK_SECONDS = 2
TERM_SECONDS = 5
KILL_SECONDS = 5


class AlreadyRunning(NotifyError):
    """notify is already up on this data folder."""


class DataFolderBusy(NotifyError):
    """Another command works on this data folder and did not finish in time."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process and no other that gets its pid later: *created* is what psutil says."""

    name: str
    pid: int
    created: float

    @classmethod
    def of(cls, name: str, pid: int) -> Self:
        """The live process with this pid; it must be our child, lest it end meanwhile."""
        return cls(name, pid, psutil.Process(pid).create_time())

    def alive(self) -> psutil.Process | None:
        """The process if it still lives. The tolerance is for a machine whose clock was set."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@dataclass(frozen=True, slots=True)
class RunningStack:
    """
    What a stack says about itself in its data folder.

    Attributes:
        ready: False until its servers answer and the database is migrated.
        urls: Where its parts answer, for people: ``api``, ``flower``, ``inbox``.
        settings: What it tells other commands of its settings, by field; secrets among them.
        children: The processes that it started.
    """

    supervisor: Identity
    ready: bool = False
    urls: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    children: tuple[Identity, ...] = ()

    def save(self, data_dir: Path) -> None:
        write_private(data_dir / STACK_FILE, json.dumps(asdict(self), indent=2))

    @classmethod
    def saved(cls, data_dir: Path) -> Self | None:
        """What was last written down; None if nothing was, or it makes no sense."""
        try:
            return TypeAdapter(cls).validate_json((data_dir / STACK_FILE).read_bytes())
        except (OSError, ValueError):
            return None


def running(data_dir: Path) -> RunningStack | None:
    """
    The stack that is up on this folder, or starting; None if there is none.

    It holds the folder's lock for as long as its process lives, and says so before it starts anything.
    """
    stack = RunningStack.saved(data_dir)
    return stack if stack and stack.supervisor.alive() else None


@contextmanager
def held(data_dir: Path, *, seconds: float) -> Iterator[None]:
    """
    Have the folder to ourselves; made when missing. A killed holder holds no longer: the lock is the kernel's.

    Args:
        seconds: How long to wait for another command to finish.

    Raises:
        AlreadyRunning: A stack is up or starting; waiting would not help.
        DataFolderBusy: Another command did not finish in time.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a+") as file:
        end = monotonic() + seconds
        while not _lock(file):
            if stack := running(data_dir):
                raise AlreadyRunning(pid=stack.supervisor.pid, **stack.urls)
            if monotonic() > end:
                raise DataFolderBusy(folder=str(data_dir), pid=(data_dir / LOCK_FILE).read_text() or "unknown")
            sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def end_leftovers(data_dir: Path) -> list[Identity]:
    """End what a killed stack left running here and name it. Only for whoever holds the folder."""
    stack = RunningStack.saved(data_dir)
    left = [(child, process) for child in (stack.children if stack else ()) if (process := child.alive())]
    _end(process for _, process in left)
    (data_dir / STACK_FILE).unlink(missing_ok=True)
    return [child for child, _ in left]


def _end(processes: Iterable[psutil.Process]) -> None:
    """Ask all of them, give them the same time, then kill what is left of their groups."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    end = monotonic() + TERM_SECONDS
    for process in asked:
        wait_for_the_end(process, end - monotonic())
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)
        wait_for_the_end(process, KILL_SECONDS)


def _lock(file: TextIO) -> bool:
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True
