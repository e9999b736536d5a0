"""
Workflows of the embedded forge, of which nothing is run: a run lasts until somebody ends it.

A repository has the workflows whose files it has; what they would do is not read.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from re import MULTILINE
from re import compile as pattern

from notify.embedded.forge.records import Repository, Run
from notify.embedded.forge.state import ForgeState, Unknown

FOLDER = ".github/workflows"
TRIGGER = "workflow_dispatch"
EVENT = "workflow_run"
CANCELLED = "cancelled"

_NAME = pattern(r"^name: *(\S.*)$", MULTILINE)
_TITLE = pattern(r"^run-name: *(\S.*)$", MULTILINE)
# The one kind of expression that is understood in the name of a run.
_INPUT = pattern(r"\$\{\{ *inputs\.(\w+) *\}\}")


class HasEnded(Exception):
    """The run has ended, and stays as it is."""


class Workflows:
    """Starts and ends runs. Everything is kept in the state."""

    def __init__(self, state: ForgeState) -> None:
        self._state = state

    def definition(self, repository: Repository, file: str) -> str:
        """
        The text of a workflow's file.

        Raises:
            Unknown: The repository has no such workflow.
        """
        found = repository.files.get(f"{FOLDER}/{file}")
        if found is None:
            raise Unknown(file)
        return found

    def start(self, full_name: str, file: str, *, branch: str, by: str, inputs: Mapping[str, str] | None = None) -> Run:
        """
        Raises:
            Unknown: The repository has no such workflow.
        """
        with self._state.lock:
            repository = self._state.repository(full_name)
            given, now = dict(inputs or {}), self._state.now()
            name, title = _names(file, self.definition(repository, file), given)
            earlier = [one for one in repository.runs.values() if one.file == file]
            made = Run(
                id=self._state.next_id(),
                number=len(earlier) + 1,
                workflow_id=earlier[0].workflow_id if earlier else self._state.next_id(),
                file=file,
                workflow=name,
                title=title,
                login=by,
                branch=branch,
                sha=repository.branches[branch],
                created_at=now,
                updated_at=now,
                inputs=given,
            )
            repository.runs[made.id] = made
            self._state.tell(EVENT, repository, by, {"action": "requested", "run": made})
            return made

    def end(self, full_name: str, id_: int, conclusion: str) -> None:
        """
        End a run.

        Args:
            conclusion: As GitHub spells it, such as ``failure``.

        Raises:
            Unknown: The repository has no such run.
            HasEnded: It did so earlier.
        """
        with self._state.lock:
            repository = self._state.repository(full_name)
            run = repository.runs.get(id_)
            if run is None:
                raise Unknown(str(id_))
            if run.conclusion is not None:
                raise HasEnded
            run.conclusion, run.updated_at = conclusion, self._state.now()
            self._state.tell(EVENT, repository, run.login, {"action": "completed", "run": run})


def _names(file: str, definition: str, inputs: Mapping[str, str]) -> tuple[str, str]:
    """What the workflow is called, and what its run is listed under."""
    stated, title = _NAME.search(definition), _TITLE.search(definition)
    name = stated[1].strip() if stated else PurePosixPath(file).stem
    return name, _INPUT.sub(lambda one: inputs.get(one[1], ""), title[1]).strip() if title else name
