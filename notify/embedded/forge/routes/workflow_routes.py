"""GitHub Actions: starting a workflow, reading its runs, and cancelling one."""

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import Response

from notify.embedded.forge.records import Repository, Run
from notify.embedded.forge.routes.call import REPOSITORY, Call, Route, as_json
from notify.embedded.forge.routes.fields import words
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.refusals import InvalidRequest, Refused
from notify.embedded.forge.shapes.repository_shapes import Json
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown
from notify.embedded.forge.workflows import CANCELLED, TRIGGER, HasEnded, Workflows

WORKFLOW = f"{REPOSITORY}/actions/workflows/{{file}}"
RUN = f"{REPOSITORY}/actions/runs/{{id}}"
BRANCH = "refs/heads/"
MOST_INPUTS = 25


class WorkflowRoutes:
    def __init__(self, state: ForgeState, shapes: Shapes, lookup: Lookup) -> None:
        self._workflows, self._shapes, self._lookup = Workflows(state), shapes, lookup

    def routes(self) -> Iterable[Route]:
        return (
            ("POST", f"{WORKFLOW}/dispatches", self._dispatch),
            ("GET", f"{WORKFLOW}/runs", self._runs),
            ("GET", RUN, self._run),
            ("POST", f"{RUN}/cancel", self._cancel),
        )

    def _dispatch(self, call: Call) -> Response:
        call.not_as_app()
        repository, file = self._lookup.repository(call), call.named("file")
        branch, inputs = _branch(repository, call.fields), _inputs(call.fields)
        if TRIGGER not in self._workflows.definition(repository, file):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"Workflow does not have '{TRIGGER}' trigger")
        run = self._workflows.start(repository.full_name, file, branch=branch, by=call.login, inputs=inputs)
        if call.fields.get("return_run_details") is True:
            return as_json(self._shapes.runs.started(repository, run))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _runs(self, call: Call) -> Response:
        call.not_as_app()
        repository, file = self._lookup.repository(call), call.named("file")
        self._workflows.definition(repository, file)
        asked = call.query("event") in ("", TRIGGER)
        found = [one for one in reversed(repository.runs.values()) if asked and one.file == file]
        return call.counted("workflow_runs", found, lambda one: self._shapes.runs.run(repository, one))

    def _run(self, call: Call) -> Json:
        call.not_as_app()
        return self._shapes.runs.run(*self._found(call))

    def _cancel(self, call: Call) -> Response:
        call.not_as_app()
        repository, run = self._found(call)
        try:
            self._workflows.end(repository.full_name, run.id, CANCELLED)
        except HasEnded:
            raise Refused(HTTPStatus.CONFLICT, "Cannot cancel a workflow run that is completed.") from None
        return as_json({}, status=HTTPStatus.ACCEPTED)

    def _found(self, call: Call) -> tuple[Repository, Run]:
        repository = self._lookup.repository(call)
        run = repository.runs.get(call.number("id"))
        if run is None:
            raise Unknown
        return repository, run


def _branch(repository: Repository, fields: Json) -> str:
    """
    Raises:
        Refused: The repository has no such branch. It keeps no tags.
    """
    ref = words(fields, "ref", required=True) or ""
    if (branch := ref.removeprefix(BRANCH)) not in repository.branches:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"No ref found for: {ref}")
    return branch


def _inputs(fields: Json) -> dict[str, str]:
    """
    Raises:
        InvalidRequest: They are no object, or too many.
    """
    found = fields.get("inputs", {})
    if not isinstance(found, dict):
        raise InvalidRequest("For 'properties/inputs', it is not an object.")
    if len(found) > MOST_INPUTS:
        raise InvalidRequest(f"No more than {MOST_INPUTS} properties are allowed; {len(found)} were supplied.")
    return {name: str(value) for name, value in found.items()}
