"""
Keeps the embedded forge's state between runs, so that a killed forge loses at most about a second.

Repositories are one file, which is written anew when something changed, at most once a second. What was shown on
commits is a file to which each call adds a line at once, so that its cost does not grow with what is there.
"""

from io import FileIO
from pathlib import Path
from threading import Event, Thread

from pydantic import TypeAdapter

from notify.embedded.forge.records import Repository
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.statuses import StatusCall

REPOSITORIES = "forge.json"
STATUSES = "statuses.jsonl"
SECONDS = 1.0
STOP_SECONDS = 10.0

_REPOSITORIES = TypeAdapter(dict[str, Repository])
_STATUS = TypeAdapter(StatusCall)


class StateFile:
    """
    Args:
        folder: Holds the files.
    """

    def __init__(self, state: ForgeState, folder: Path) -> None:
        self._state, self._file, self._statuses_file = state, folder / REPOSITORIES, folder / STATUSES
        self._changed, self._stopping = Event(), Event()
        self._thread = Thread(target=self._save_changes, name="forge-state", daemon=True)
        self._statuses: FileIO | None = None

    def restore(self) -> None:
        """Take up what an earlier run kept."""
        if self._file.exists():
            self._state.repositories = _REPOSITORIES.validate_json(self._file.read_bytes())
            for repository in self._state.repositories.values():
                _fill_commits(repository)
        if self._statuses_file.exists():
            self._restore_statuses()
        self._state.number_from(max(self._ids(), default=1000) + 1)

    def start(self) -> None:
        self._statuses = self._statuses_file.open("ab", buffering=0)
        self._state.statuses.kept = self._keep
        self._thread.start()

    def changed(self) -> None:
        """Have the repositories written within a second."""
        self._changed.set()

    def stop(self) -> None:
        """Write what has changed, and end."""
        self._stopping.set()
        self._changed.set()
        self._thread.join(STOP_SECONDS)
        self._save()
        if self._statuses is not None:
            self._statuses.close()

    def _keep(self, call: StatusCall) -> None:
        assert self._statuses is not None, "it was started"  # noqa: S101 - for the type checker
        self._statuses.write(_STATUS.dump_json(call) + b"\n")

    def _save_changes(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._changed.clear()
            self._save()
            self._stopping.wait(SECONDS)

    def _save(self) -> None:
        with self._state.lock:
            kept = _REPOSITORIES.dump_json(self._state.repositories)
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_bytes(kept)
        unfinished.rename(self._file)

    def _restore_statuses(self) -> None:
        """A last line that a kill cut short is removed; the call that wrote it was not answered."""
        kept = self._statuses_file.read_bytes()
        whole, end, rest = kept.rpartition(b"\n")
        if rest:
            with self._statuses_file.open("r+b") as file:
                file.truncate(len(whole) + len(end))
        for line in whole.splitlines():
            self._state.statuses.restore(_STATUS.validate_json(line))

    def _ids(self) -> list[int]:
        """Every number that was given to something."""
        found = list(self._state.statuses.ids())
        for repository in self._state.repositories.values():
            found += [repository.id, *repository.labels.values(), *repository.runs]
            found += [one.workflow_id for one in repository.runs.values()]
            for pull in repository.pulls.values():
                found += [pull.id, *(one.id for one in pull.comments), *(one.id for one in pull.reviews)]
        return found


def _fill_commits(repository: Repository) -> None:
    """Earlier versions did not keep the commits that a repository knows."""
    pulls = repository.pulls.values()
    repository.commits.update(repository.branches.values())
    repository.commits.update(sha for one in pulls for sha in (one.head_sha, one.base_sha, one.merge_commit) if sha)
