"""Commit statuses: setting one, and reading those of a commit."""

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import Response

from notify.embedded.forge.routes.call import COMMIT, REPOSITORY, Call, Route, as_json, tagged
from notify.embedded.forge.routes.fields import link, words
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.refusals import Invalid, Refused
from notify.embedded.forge.shapes.repository_shapes import Json
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.statuses import CallKind, StatusCall

STATES = ("error", "failure", "pending", "success")
LONGEST_DESCRIPTION = 140
LONGEST_CONTEXT = 255
MOST_OF_A_CONTEXT = 1_000
RESOURCE = "Status"


class StatusRoutes:
    def __init__(self, state: ForgeState, shapes: Shapes, lookup: Lookup) -> None:
        self._state, self._shapes, self._lookup = state, shapes, lookup

    def routes(self) -> Iterable[Route]:
        return (
            ("POST", f"{REPOSITORY}/statuses/{{sha}}", self._set),
            ("GET", f"{COMMIT}/statuses", self._statuses),
            ("GET", f"{COMMIT}/status", self._combined),
        )

    def _set(self, call: Call) -> Response:
        call.not_as_app()
        repository, sha, given = self._lookup.repository(call), call.named("sha"), _given(call.fields)
        if sha not in repository.commits:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {sha}")
        if self._state.statuses.count(repository.id, sha, given["context"]) >= MOST_OF_A_CONTEXT:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, "This SHA and context has reached the maximum number of statuses."
            )
        status = StatusCall(
            id=self._state.next_id(),
            at=self._state.clock(),
            by=call.login,
            kind=CallKind.STATUS,
            repository_id=repository.id,
            sha=sha,
            context=given["context"],
            state=given["state"],
            given=given,
        )
        self._state.statuses.add(status)
        return as_json(self._shapes.statuses.status(repository, status), status=HTTPStatus.CREATED)

    def _statuses(self, call: Call) -> Response:
        repository = self._lookup.repository(call)
        found = self._state.statuses.statuses(repository.id, self._lookup.commit(repository, call.named("sha")))
        return call.listed(found, lambda one: self._shapes.statuses.status(repository, one))

    def _combined(self, call: Call) -> Response:
        repository = self._lookup.repository(call)
        sha = self._lookup.commit(repository, call.named("sha"))
        latest = self._state.statuses.latest(repository.id, sha)
        page, headers = call.paged(latest)
        return tagged(call.request, self._shapes.statuses.combined(repository, sha, latest, page), headers)


def _given(fields: Json) -> Json:
    """
    Raises:
        Invalid: A value is none that GitHub takes.
    """
    if fields.get("state") not in STATES:
        raise Invalid(RESOURCE, "state", "is not included in the list")
    description, context = words(fields, "description") or "", words(fields, "context") or "default"
    if len(description) > LONGEST_DESCRIPTION:
        raise Invalid(RESOURCE, "description", f"is too long (maximum is {LONGEST_DESCRIPTION} characters)")
    if len(context) > LONGEST_CONTEXT:
        raise Invalid(RESOURCE, "context", f"is too long (maximum is {LONGEST_CONTEXT} characters)")
    return {
        "state": fields["state"],
        "description": description or None,
        "target_url": link(fields, "target_url", resource=RESOURCE),
        "context": context,
    }
