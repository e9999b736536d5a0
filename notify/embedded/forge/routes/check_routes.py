"""Check runs: creating and updating one, and reading those of a commit."""

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus

from fastapi import Response

from notify.embedded.forge.records import Repository
from notify.embedded.forge.routes import check_bodies
from notify.embedded.forge.routes.call import COMMIT, REPOSITORY, Call, Route, as_json
from notify.embedded.forge.routes.fields import one_of
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.refusals import Refused
from notify.embedded.forge.shapes.repository_shapes import Json, text
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown
from notify.embedded.forge.statuses import CallKind, CheckRun, StatusCall

FILTERS = ("latest", "all")
RUN = f"{REPOSITORY}/check-runs/{{id}}"


class CheckRoutes:
    def __init__(self, state: ForgeState, shapes: Shapes, lookup: Lookup) -> None:
        self._state, self._shapes, self._lookup = state, shapes, lookup

    def routes(self) -> Iterable[Route]:
        return (
            ("POST", f"{REPOSITORY}/check-runs", self._create),
            ("PATCH", RUN, self._update),
            ("GET", RUN, self._run),
            ("GET", f"{RUN}/annotations", self._annotations),
            ("GET", f"{COMMIT}/check-runs", self._runs),
        )

    def _create(self, call: Call) -> Response:
        _as_installation(call)
        repository, at = self._lookup.repository(call), self._state.clock()
        given = check_bodies.created(call.fields, now=text(at))
        sha = call.fields.get("head_sha")
        if sha not in repository.commits:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {sha}")
        run = CheckRun(self._state.next_id(), repository.id, sha, call.login, given["name"], given["status"], at)
        self._tell(CallKind.CHECK_RUN_CREATED, call, run, given=given, at=at)
        return as_json(self._shown(repository, run.id), status=HTTPStatus.CREATED)

    def _update(self, call: Call) -> Json:
        _as_installation(call)
        (repository, run), at = self._found(call), self._state.clock()
        given = check_bodies.updated(call.fields, now=text(at))
        self._tell(CallKind.CHECK_RUN_UPDATED, call, run, given=given, at=at)
        return self._shown(repository, run.id)

    def _tell(self, kind: CallKind, call: Call, run: CheckRun, *, given: Json, at: datetime) -> None:
        """Have the ledger make or change the check run."""
        made = StatusCall(
            id=self._state.next_id(),
            at=at,
            by=call.login,
            kind=kind,
            repository_id=run.repository_id,
            sha=run.sha,
            context=given.get("name", run.name),
            state=given.get("conclusion") or given.get("status") or run.state,
            run_id=run.id,
            given=given,
        )
        self._state.statuses.add(made)

    def _run(self, call: Call) -> Json:
        return self._shapes.statuses.run(*self._found(call))

    def _annotations(self, call: Call) -> Response:
        repository, run = self._found(call)
        return call.listed(run.annotations, lambda one: self._shapes.statuses.annotation(repository, run, one))

    def _runs(self, call: Call) -> Response:
        repository, asked = self._lookup.repository(call), dict(call.request.query_params)
        sha = self._lookup.commit(repository, call.named("sha"))
        every = one_of(asked, "filter", FILTERS) == "all"
        found = (self._state.statuses.runs if every else self._state.statuses.latest_runs)(repository.id, sha)
        name, status = asked.get("check_name"), one_of(asked, "status", check_bodies.STATUSES)
        if asked.get("app_id", str(self._shapes.app.app_id)) != str(self._shapes.app.app_id):
            found = []
        wanted = [one for one in found if name in (None, one.name) and status in (None, one.status)]
        return call.counted("check_runs", wanted, lambda one: self._shapes.statuses.run(repository, one))

    def _found(self, call: Call) -> tuple[Repository, CheckRun]:
        repository, run = self._lookup.repository(call), self._state.statuses.run(call.number("id"))
        if run is None or run.repository_id != repository.id:
            raise Unknown
        return repository, run

    def _shown(self, repository: Repository, id_: int) -> Json:
        run = self._state.statuses.run(id_)
        assert run is not None, "the call has made it"  # noqa: S101 - for the type checker
        return self._shapes.statuses.run(repository, run)


def _as_installation(call: Call) -> None:
    call.only("installation", message="You must authenticate via a GitHub App.")
