"""What the embedded forge was told to show on commits: every call, and what is shown by them now."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class CallKind(StrEnum):
    STATUS = "status"
    CHECK_RUN_CREATED = "check_run"
    CHECK_RUN_UPDATED = "check_run_update"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCall:
    """
    One call that set a status, or created or updated a check run.

    Attributes:
        id: Of the status, or of the call.
        run_id: Of the check run; None for a status.
        context: Of the status; the check run's name.
        state: After the call: a status's state, a check run's conclusion or status.
        given: What was in its body; instants and defaults are filled in.
    """

    id: int
    at: datetime
    by: str
    kind: CallKind
    repository_id: int
    sha: str
    context: str
    state: str
    run_id: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> str | None:
        return self.given.get("description")

    @property
    def target_url(self) -> str | None:
        return self.given.get("target_url")


@dataclass(slots=True)
class CheckRun:
    """A check run as *calls* calls have made it. Instants are in the form of the API."""

    id: int
    repository_id: int
    sha: str
    by: str
    name: str
    status: str
    updated_at: datetime
    conclusion: str | None = None
    external_id: str = ""
    details_url: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    output: dict[str, str | None] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    @property
    def state(self) -> str:
        return self.conclusion or self.status

    def update(self, given: Mapping[str, Any], at: datetime) -> None:
        """Take over what was given; annotations are added to those that are there."""
        for name in ("name", "external_id", "details_url", "started_at", "completed_at"):
            if given.get(name) is not None:
                setattr(self, name, given[name])
        if "status" in given:
            self.status, self.conclusion = given["status"], given.get("conclusion")
            if self.conclusion is None:
                self.completed_at = None
        output = given.get("output") or {}
        self.output |= {name: output[name] for name in ("title", "summary", "text") if name in output}
        self.annotations += output.get("annotations") or ()
        self.updated_at = at
        self.calls += 1


class StatusLedger:
    """
    Every call in the order of its arrival. Not thread-safe: the forge's state has the lock.

    Attributes:
        calls: All of them.
        kept: Called with each new one.
    """

    def __init__(self) -> None:
        self.calls: list[StatusCall] = []
        self.kept: Callable[[StatusCall], None] = lambda _: None
        self._of_commit: dict[tuple[int, str], list[StatusCall]] = {}
        self._contexts: dict[tuple[int, str], dict[str, list[StatusCall]]] = {}
        self._runs: dict[int, CheckRun] = {}
        self._runs_of_commit: dict[tuple[int, str], list[CheckRun]] = {}

    def add(self, call: StatusCall) -> None:
        self.restore(call)
        self.kept(call)

    def restore(self, call: StatusCall) -> None:
        """Do what a call did that was kept before."""
        self.calls.append(call)
        commit = (call.repository_id, call.sha)
        self._of_commit.setdefault(commit, []).append(call)
        if call.run_id is None:
            self._contexts.setdefault(commit, {}).setdefault(call.context.lower(), []).append(call)
            return
        if call.kind is CallKind.CHECK_RUN_CREATED:
            run = CheckRun(call.run_id, *commit, by=call.by, name=call.context, status="queued", updated_at=call.at)
            self._runs[run.id] = run
            self._runs_of_commit.setdefault(commit, []).append(run)
        self._runs[call.run_id].update(call.given, call.at)

    def of(self, repository_id: int, sha: str, context: str | None = None) -> list[StatusCall]:
        """The calls about a commit, the oldest first, also those whose states were replaced since."""
        found = self._of_commit.get((repository_id, sha), [])
        return [one for one in found if context is None or one.context.lower() == context.lower()]

    def statuses(self, repository_id: int, sha: str) -> list[StatusCall]:
        """The statuses of a commit, the newest first."""
        return [one for one in reversed(self._of_commit.get((repository_id, sha), [])) if one.run_id is None]

    def count(self, repository_id: int, sha: str, context: str) -> int:
        """How many statuses of one context a commit has."""
        return len(self._contexts.get((repository_id, sha), {}).get(context.lower(), ()))

    def latest(self, repository_id: int, sha: str) -> list[StatusCall]:
        """The newest status of each context, the newest first."""
        contexts = self._contexts.get((repository_id, sha), {}).values()
        return sorted((one[-1] for one in contexts), key=lambda one: one.id, reverse=True)

    def runs(self, repository_id: int, sha: str) -> list[CheckRun]:
        """The check runs of a commit, the newest first."""
        return self._runs_of_commit.get((repository_id, sha), [])[::-1]

    def latest_runs(self, repository_id: int, sha: str) -> list[CheckRun]:
        """The newest check run of each name, the newest first."""
        newest: dict[str, CheckRun] = {}
        for one in self.runs(repository_id, sha):
            newest.setdefault(one.name, one)
        return list(newest.values())

    def run(self, id_: int) -> CheckRun | None:
        return self._runs.get(id_)

    def ids(self) -> Iterator[int]:
        """Every number that is in use here."""
        yield from (one.id for one in self.calls)
        yield from self._runs
