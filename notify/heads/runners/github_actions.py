"""
Builds by a workflow of GitHub Actions, which is started on a ref that we trust, with the head as an input.

The workflow states the request in its run's name (``run-name: ${{ inputs.request }}``); that finds the run again where
the answer to its start did not name it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import compile as pattern
from time import time

from notify.domain.forge import WorkflowRun
from notify.domain.forge_answers import ForgeFault, Refused
from notify.domain.forge_ports import Workflows
from notify.domain.forge_settings import GitHubActionsRunner
from notify.domain.head_ports import NotFound, RunnerRefused, RunnerUnavailable
from notify.domain.heads import BuildReport, BuildStatus, Head, Request

RUN, STARTED = "#", "@"
BUILD_ID = pattern(rf"(?P<name>.+)(?P<kind>[{RUN}{STARTED}])(?P<number>[0-9]{{1,18}})")
# A run is listed seconds after its start; where it is not, the workflow does not state the request in its name.
SEEN_WITHIN_SECONDS = 600

# Source: GitHub's REST API, "Workflow runs", conclusion.
STATUSES = {
    "success": BuildStatus.SUCCESS,
    "failure": BuildStatus.FAILURE,
    "timed_out": BuildStatus.TIMED_OUT,
    "cancelled": BuildStatus.CANCELLED,
    "skipped": BuildStatus.SKIPPED,
    "neutral": BuildStatus.SKIPPED,
}


class GitHubActionsBuildRunner:
    """
    A ``BuildRunner``. A build is named by its run, or by when it was started until its run is seen.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: GitHubActionsRunner,
        workflows: Workflows,
        *,
        repository: str,
        now: Callable[[], float] = time,
    ) -> None:
        self._settings, self._workflows, self._repository, self._now = settings, workflows, repository, now

    def start(self, request: Request) -> str:
        name = str(request.id)
        with _errors():
            run = self._found(name)
            if run is not None:
                return f"{name}{RUN}{run.id}"
            started = self._workflows.start(
                self._repository, self._settings.workflow, ref=self._settings.ref, inputs=_inputs(request)
            )
            if started is None and (run := self._found(name)) is not None:
                started = run.id
        return f"{name}{STARTED}{int(self._now())}" if started is None else f"{name}{RUN}{started}"

    def report(self, build_id: str) -> BuildReport:
        run = self._run(build_id)
        if run is None or run.conclusion is None:
            return BuildReport(status=BuildStatus.RUNNING, url=run.url if run else None)
        return BuildReport(status=STATUSES.get(run.conclusion, BuildStatus.UNEXPECTED_ERROR), url=run.url)

    def cancel(self, build_id: str) -> None:
        run = self._run(build_id)
        if run is None:
            raise RunnerUnavailable(words="the run is not seen yet")
        with _errors():
            self._workflows.cancel(self._repository, run.id)

    def _run(self, build_id: str) -> WorkflowRun | None:
        """
        The run; None: it was started a moment ago, and is not seen yet.

        Raises:
            NotFound: There is none, or it was not seen in time.
        """
        named = BUILD_ID.fullmatch(build_id)
        if named is None:
            raise NotFound(build=build_id)
        number = int(named["number"])
        with _errors():
            is_run = named["kind"] == RUN
            run = self._workflows.run(self._repository, number) if is_run else self._found(named["name"])
        if run is None and (is_run or self._now() - number > SEEN_WITHIN_SECONDS):
            raise NotFound(build=build_id)
        return run

    def _found(self, name: str) -> WorkflowRun | None:
        """The run of exactly this request: request/q/1 is no part of request/q/12."""
        return self._workflows.find(self._repository, self._settings.workflow, name=name)


def _inputs(request: Request) -> dict[str, str]:
    base = Head.parse(request.base_uri).sha if request.base_uri else ""
    return {
        "head": Head.parse(request.uri).sha,
        "base": base,
        "queue": request.id.queue,
        "request": str(request.id),
    }


@contextmanager
def _errors() -> Iterator[None]:
    """A refusal is final; everything else is worth another attempt."""
    try:
        yield
    except ForgeFault as fault:
        if isinstance(fault.meaning, Refused):
            raise RunnerRefused(reason=fault.meaning.reason, words=fault.meaning.words) from fault
        raise RunnerUnavailable(reason=type(fault.meaning).__name__) from fault
