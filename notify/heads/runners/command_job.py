"""The process of one build: checks the commit out, runs the command, and writes what became of it."""

import json
import signal
import subprocess
import sys
from os import _exit, environ, fork, getpid, killpg
from pathlib import Path
from shutil import rmtree
from types import FrameType
from typing import Any

from notify.domain.heads import BuildStatus

JOB, RESULT, LOCK, PID, OUTPUT = "job.json", "result.json", "lock", "pid.json", "output.txt"
TREE, PROJECTS = "tree", "projects.json"
CHECKOUT_SECONDS = 600
GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


class Cancelled(Exception):
    """Somebody asked for the end."""


def main(folder: Path) -> None:
    """Run the build that the folder describes."""

    def cancel(_: int, __: FrameType | None) -> None:
        raise Cancelled

    signal.signal(signal.SIGTERM, cancel)
    write(folder / PID, {"pid": getpid()})
    job = read(folder / JOB) or {}
    try:
        status = _checked_out(folder, job) and _status(folder, job)
    except Cancelled:
        status = BuildStatus.CANCELLED
    except Exception:  # noqa: BLE001 - whatever it is, it is no verdict
        status = BuildStatus.UNEXPECTED_ERROR
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    projects = _projects(folder / PROJECTS) if status in {BuildStatus.SUCCESS, BuildStatus.FAILURE} else {}
    rmtree(folder / TREE, ignore_errors=True)
    write(folder / RESULT, {"status": status, "projects": projects})


def read(file: Path) -> Any:  # noqa: ANN401 - JSON
    """The JSON in a file; None: there is no such file."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None


def write(file: Path, content: object) -> None:
    """Write JSON whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(file)


def _checked_out(folder: Path, job: dict[str, Any]) -> bool:
    tree = folder / TREE
    rmtree(tree, ignore_errors=True)
    _git("init", "--quiet", "--template=", "--", str(tree))
    # As clone --shared does, which would warn in the build's output that the mirror has no branches.
    (tree / ".git/objects/info/alternates").write_text(f"{job['repository']}/objects\n")
    _git("-C", str(tree), "checkout", "--quiet", "--detach", job["sha"])
    return True


def _git(*arguments: str) -> None:
    subprocess.run((*GIT, *arguments), check=True, timeout=CHECKOUT_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603


def _status(folder: Path, job: dict[str, Any]) -> BuildStatus:
    """What the command's end means: exit code 0 is green."""
    running = subprocess.Popen(  # noqa: S603 - an argument vector
        job["command"],
        cwd=folder / TREE,
        env={**job["environment"], "PROJECTS_FILE": str(folder / PROJECTS)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = running.wait(job["seconds"])
    except subprocess.TimeoutExpired:
        return BuildStatus.TIMED_OUT
    finally:
        if running.poll() is None:
            killpg(running.pid, signal.SIGKILL)
            running.wait()
    return BuildStatus.SUCCESS if code == 0 else BuildStatus.FAILURE


def _projects(file: Path) -> dict[str, float]:
    """What the command says of each project: a JSON object of degrees by name; anything else is ignored."""
    try:
        stated = read(file)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stated, dict):
        return {}
    return {
        name: float(degree)
        for name, degree in stated.items()
        if name and isinstance(degree, int | float) and not isinstance(degree, bool) and 0 <= degree <= 1
    }


if __name__ == "__main__":
    environ["GIT_TERMINAL_PROMPT"] = "0"
    if fork():
        _exit(0)  # who started it need not wait, and has no child to bury
    main(Path(sys.argv[1]))
