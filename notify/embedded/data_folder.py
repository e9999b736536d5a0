"""The data folder: one process works on it at a time and writes there what it runs."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic, sleep
from typing import Self

import psutil
from pydantic import TypeAdapter

from notify.domain.errors import NotifyError
from notify.embedded.processes import POLL_SECONDS, end_all

LOCK_FILE = "lock"
STACK_FILE = "stack.json"
SECRETS_FILE = "secrets.json"
SECRET_BYTES = 32
CLOCK_SECONDS = 2
TERM_SECONDS = 5


class AlreadyRunning(NotifyError):
    """notify is already up on this data folder."""


class DataFolderBusy(NotifyError):
    """Another command works on this data folder and did not finish in time."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart by *created* (psutil's creation time) from later ones that get its pid."""

    name: str
    pid: int
    created: float

    @classmethod
    def of(cls, name: str, pid: int) -> Self:
        """Raises psutil.NoSuchProcess unless it is alive or a child of ours."""
        return cls(name, pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
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
        urls: Where people reach it: ``api``, ``flower``, ``inbox``.
        settings: Its settings as text, by field; secrets among them.
        children: The processes that it started.
    """

    supervisor: ProcessId
    ready: bool = False
    urls: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    children: tuple[ProcessId, ...] = ()

    def save(self, data_dir: Path) -> None:
        write_private(data_dir / STACK_FILE, json.dumps(asdict(self), indent=2))

    @classmethod
    def saved(cls, data_dir: Path) -> Self | None:
        """What was last saved; None if there is nothing readable."""
        try:
            return TypeAdapter(cls).validate_json((data_dir / STACK_FILE).read_bytes())
        except (OSError, ValueError):
            return None


def running(data_dir: Path) -> RunningStack | None:
    """The stack that is up on this folder or starting. It has the lock for as long as its supervisor lives."""
    stack = RunningStack.saved(data_dir)
    return stack if stack and stack.supervisor.find() else None


@contextmanager
def locked(data_dir: Path, *, seconds: float) -> Iterator[None]:
    """
    Lock the folder, made when missing. The kernel releases the lock of a killed process.

    Args:
        seconds: How long to wait for another command to finish.

    Raises:
        AlreadyRunning: A stack is up or starting; waiting would not help.
        DataFolderBusy: Another command did not finish in time.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    end = monotonic() + seconds
    with (data_dir / LOCK_FILE).open("a+") as file:
        while True:
            try:
                flock(file, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                if stack := running(data_dir):
                    raise AlreadyRunning(pid=stack.supervisor.pid, **stack.urls) from None
                if monotonic() > end:
                    owner = (data_dir / LOCK_FILE).read_text() or "unknown"
                    raise DataFolderBusy(folder=str(data_dir), pid=owner) from None
            sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def end_leftovers(data_dir: Path) -> list[ProcessId]:
    """End what a killed stack left running here and return it. Only for whoever has locked the folder."""
    stack = RunningStack.saved(data_dir)
    left = [(child, process) for child in (stack.children if stack else ()) if (process := child.find())]
    end_all([process for _, process in left], seconds=TERM_SECONDS)
    (data_dir / STACK_FILE).unlink(missing_ok=True)
    return [child for child, _ in left]


def secrets(data_dir: Path) -> dict[str, str]:
    """The secrets for links and for people's tokens, made at the first call. Only for whoever has locked the folder."""
    file = data_dir / SECRETS_FILE
    if not file.exists():
        write_private(file, json.dumps({name: token_urlsafe(SECRET_BYTES) for name in ("secret_keys", "jwt_secret")}))
    made: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return made


def write_private(file: Path, text: str) -> None:
    """Write a file for its owner only, whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(file)
