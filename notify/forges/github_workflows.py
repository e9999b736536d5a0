"""
Starts workflows of GitHub Actions, and looks for their runs.

Source: GitHub's REST API, "Workflows" (create a workflow dispatch event) and "Workflow runs".
"""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import islice

from notify.domain.forge import WorkflowRun
from notify.domain.forge_answers import ForgeFault, Refused
from notify.domain.forge_settings import ForgeKind
from notify.forges.client import ForgeClient, Scope, repository_path, segment
from notify.forges.common.fields import Fields
from notify.forges.pages import Pages

LOOKED_AT = 300
BRANCH = "refs/heads/"


class GitHubWorkflows:
    """``Workflows`` of GitHub."""

    def __init__(self, client: ForgeClient) -> None:
        self._client = client
        self._pages = Pages(client, ForgeKind.GITHUB)

    def start(self, full_name: str, workflow: str, *, ref: str, inputs: Mapping[str, str]) -> int | None:
        path = f"{repository_path(full_name)}/actions/workflows/{segment(workflow)}/dispatches"
        content = {"ref": ref.removeprefix(BRANCH), "inputs": dict(inputs), "return_run_details": True}
        reply = self._client.send("POST", path, Scope(full_name), content=content)
        if reply.status == HTTPStatus.NO_CONTENT or not reply.body:
            return None
        return self._pages.read(reply, lambda answer: answer.maybe_number("workflow_run_id"))

    def find(self, full_name: str, workflow: str, *, name: str) -> WorkflowRun | None:
        path = f"{repository_path(full_name)}/actions/workflows/{segment(workflow)}/runs"
        runs = self._pages.listing(
            path, Scope(full_name), _run, params={"event": "workflow_dispatch"}, inside="workflow_runs"
        )
        return next((one for one in islice(runs, LOOKED_AT) if name in one.name.split()), None)

    def run(self, full_name: str, id_: int) -> WorkflowRun | None:
        try:
            return self._pages.one(f"{repository_path(full_name)}/actions/runs/{id_}", Scope(full_name), _run)
        except ForgeFault as fault:
            if isinstance(fault.meaning, Refused) and fault.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def cancel(self, full_name: str, id_: int) -> None:
        try:
            self._client.send("POST", f"{repository_path(full_name)}/actions/runs/{id_}/cancel", Scope(full_name))
        except ForgeFault as fault:
            if fault.status != HTTPStatus.CONFLICT:  # it has ended
                raise


def _run(found: Fields) -> WorkflowRun:
    return WorkflowRun(
        id=found.number("id"),
        name=found.words("display_title"),
        url=found.words("html_url"),
        conclusion=found.words("conclusion") or None,
    )
