"""
Builds by a command on this machine, with the commit checked out; for a laptop.

A build outlives the process that started it. Its folder says what became of it: a lock that is held while it runs,
a result, or neither, if it was killed or the machine was switched off.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from os import environ, kill
from pathlib import Path
from signal import SIGTERM
from subprocess import DEVNULL, SubprocessError, run
from sys import executable

from notify.domain.forge_settings import CommandRunner
from notify.domain.head_ports import NotFound, RunnerUnavailable
from notify.domain.heads import BuildReport, BuildStatus, Head, ProjectResult, Request
from notify.heads.runners.command_job import JOB, LOCK, OUTPUT, PID, RESULT, read, write

BUILD_SECONDS = 3_600.0
LAUNCH_SECONDS = 20
# A command that a change may have edited sees no setting and no secret of ours.
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "TZ")


class CommandBuildRunner:
    """
    A ``BuildRunner``.

    Args:
        repository_with: A bare repository on this machine that has the commit of this URI.
        folder: Where builds are kept, a folder each; made when missing.
        seconds: How long a build may take.
    """

    def __init__(
        self,
        settings: CommandRunner,
        repository_with: Callable[[str], Path],
        folder: Path,
        *,
        seconds: float = BUILD_SECONDS,
    ) -> None:
        self._settings, self._repository_with = settings, repository_with
        self._folder, self._seconds = folder, seconds

    def start(self, request: Request) -> str:
        build_id = sha256(str(request.id).encode()).hexdigest()[:32]
        folder = self._folder / build_id
        repository = self._repository_with(request.uri)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _lock(folder) as lock:
                if lock is not None and read(folder / RESULT) is None:
                    write(folder / JOB, self._job(request, repository))
                    _launch(folder, lock)
        except (OSError, SubprocessError) as error:
            raise RunnerUnavailable(words=type(error).__name__) from None
        return build_id

    def report(self, build_id: str) -> BuildReport:
        folder = self._known(build_id)
        with _lock(folder) as lock:
            result = read(folder / RESULT)
        url = f"{self._settings.output_url}/{build_id}" if self._settings.output_url else None
        if result is None:
            return BuildReport(status=BuildStatus.RUNNING if lock is None else BuildStatus.UNEXPECTED_ERROR, url=url)
        projects = tuple(ProjectResult(name, degree) for name, degree in result["projects"].items())
        return BuildReport(status=BuildStatus(result["status"]), url=url, projects=projects)

    def cancel(self, build_id: str) -> None:
        folder = self._known(build_id)
        with _lock(folder) as lock:
            is_running, job = lock is None, read(folder / PID)
        if is_running and job is not None:
            with suppress(ProcessLookupError):
                kill(job["pid"], SIGTERM)

    def _known(self, build_id: str) -> Path:
        folder = self._folder / build_id
        if not build_id.isalnum() or not (folder / JOB).exists():
            raise NotFound(build=build_id)
        return folder

    def _job(self, request: Request, repository: Path) -> dict[str, object]:
        head = Head.parse(request.uri)
        return {
            "repository": str(repository),
            "sha": head.sha,
            "command": list(self._settings.command),
            "seconds": self._seconds,
            "environment": {
                **{name: environ[name] for name in PASSED if name in environ},
                "QUEUE": request.id.queue,
                "REQUEST": str(request.id),
                "HEAD_SHA": head.sha,
                "BASE_SHA": Head.parse(request.base_uri).sha if request.base_uri else "",
                "BUILD_STRATEGY": request.strategy or "",
            },
        }


def _launch(folder: Path, lock: int) -> None:
    """Start the build, which goes on by itself; it inherits the lock, which ends with it."""
    with (folder / OUTPUT).open("wb") as output:
        run(  # noqa: S603 - an argument vector
            [executable, "-m", "notify.heads.runners.command_job", str(folder)],
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock],
            start_new_session=True,
            check=True,
            timeout=LAUNCH_SECONDS,
        )


@contextmanager
def _lock(folder: Path) -> Iterator[int | None]:
    """The build's lock; None: its process has it."""
    with (folder / LOCK).open("ab") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()
