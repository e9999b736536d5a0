"""Bare repositories with ready commits, of which each push makes the next one the head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from subprocess import run

MAIN, GREEN = "refs/heads/main", "refs/heads/green"
AUTHOR = "Dana Reyes <dana@example.com>"
STARTED_AT = 1_790_000_000


@dataclass(slots=True)
class Pushed:
    """A repository, its commits from the oldest, and how many of them were pushed."""

    folder: Path
    commits: Sequence[str]
    pushed: int = 0

    @property
    def head(self) -> str:
        return self.commits[self.pushed - 1]

    def push(self) -> str:
        """Make the next commit the head; its sha. Costs no process: only its readers are measured."""
        self.pushed += 1
        self._write(self.head)
        return self.head

    def ref(self, name: str) -> str | None:
        """The commit that a ref points to."""
        file = self.folder / name
        return file.read_text().strip() if file.exists() else None

    def _write(self, sha: str) -> None:
        file = self.folder / MAIN
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name("main.unfinished")
        unfinished.write_text(f"{sha}\n")
        unfinished.rename(file)


def repositories(folder: Path, names: Sequence[str], *, commits: int) -> dict[str, Pushed]:
    """A repository for each name, all with the same commits and none of them pushed."""
    model = folder / "model.git"
    _git(folder, "init", "--quiet", "--bare", str(model))
    _git(model, "fast-import", "--quiet", given=_stream(commits))
    shas = _git(model, "rev-list", "--reverse", MAIN).split()
    _git(model, "update-ref", "-d", MAIN)
    made = {}
    for name in names:
        copytree(model, folder / f"{name}.git")
        made[name] = Pushed(folder / f"{name}.git", shas)
    return made


def _stream(commits: int) -> str:
    """What ``git fast-import`` reads: each commit changes one file."""
    return "".join(
        f"commit {MAIN}\ncommitter {AUTHOR} {STARTED_AT + number} +0000\n{_data(f'Change {number}')}"
        f"M 100644 inline src/{number % 50}.py\n{_data(f'value = {number}')}"
        for number in range(commits)
    )


def _data(words: str) -> str:
    return f"data {len(words)}\n{words}\n"


def _git(folder: Path, *arguments: str, given: str = "") -> str:
    done = run(["git", *arguments], cwd=folder, input=given, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout
