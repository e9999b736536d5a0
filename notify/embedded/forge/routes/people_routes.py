"""What people do on the embedded forge: make repositories, open pull requests, review, comment and merge."""

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import Response

from notify.embedded.forge.git.repositories import GitRepositories, NotMergeable
from notify.embedded.forge.routes.call import ISSUE, PULL, REPOSITORY, Call, Route, as_json
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.refusals import Invalid, Refused
from notify.embedded.forge.shapes.repository_shapes import Json
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown


class PeopleRoutes:
    """
    Args:
        git: Makes commits; None: they are made up.
    """

    def __init__(self, state: ForgeState, shapes: Shapes, lookup: Lookup, git: GitRepositories | None) -> None:
        self._state, self._shapes, self._lookup, self._git = state, shapes, lookup, git

    def routes(self) -> Iterable[Route]:
        return (
            ("POST", "/orgs/{owner}/repos", self._add_repository),
            ("POST", f"{REPOSITORY}/pulls", self._open_pull),
            ("PATCH", PULL, self._edit_pull),
            ("PUT", f"{PULL}/merge", self._merge),
            ("POST", f"{PULL}/reviews", self._review),
            ("POST", f"{PULL}/requested_reviewers", self._request_review),
            ("POST", f"{ISSUE}/comments", self._comment),
            ("POST", f"{ISSUE}/labels", self._add_labels),
            ("DELETE", f"{ISSUE}/labels/{{label}}", self._remove_label),
        )

    def _add_repository(self, call: Call) -> Response:
        full_name = f"{call.named('owner')}/{call.body['name']}"
        if full_name.lower() in self._state.repositories:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "name already exists on this account")
        made = self._git.add(full_name) if self._git else self._state.add_repository(full_name)
        return as_json(self._shapes.repositories.repository(made), status=HTTPStatus.CREATED)

    def _open_pull(self, call: Call) -> Response:
        given, repository = call.body, self._lookup.repository(call)
        for end in ("head", "base") if self._git and repository.is_git else ():
            if given[end] not in repository.branches:
                raise Invalid("PullRequest", end, "is no branch")
        pull = self._state.open_pull(
            repository.full_name,
            by=call.login,
            title=given["title"],
            body=given.get("body") or "",
            head=given["head"],
            base=given["base"],
            draft=bool(given.get("draft")),
        )
        return as_json(self._shapes.pulls.pull(repository, pull), status=HTTPStatus.CREATED)

    def _edit_pull(self, call: Call) -> Json:
        repository, pull = self._lookup.pull(call)
        state = call.body.get("state")
        if state == "closed" and pull.state == "open":
            self._state.close(repository.full_name, pull.number, by=call.login)
        elif state == "open" and pull.state == "closed":
            self._state.reopen(repository.full_name, pull.number, by=call.login)
        if "title" in call.body or "body" in call.body:
            said = {name: call.body.get(name) for name in ("title", "body")}
            self._state.edit_pull(repository.full_name, pull.number, by=call.login, **said)
        return self._shapes.pulls.pull(repository, pull)

    def _merge(self, call: Call) -> Json:
        repository, pull = self._lookup.pull(call)
        if pull.state != "open":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Pull Request is not mergeable")
        if self._git and repository.is_git:
            try:
                sha = self._git.merge(repository, pull, by=call.login)
            except NotMergeable:
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Pull Request is not mergeable") from None
        else:
            sha = self._state.merge(repository.full_name, pull.number, by=call.login)
        return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}

    def _review(self, call: Call) -> Json:
        repository, pull = self._lookup.pull(call)
        states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
        made = self._state.review(
            repository.full_name,
            pull.number,
            by=call.login,
            state=states[call.body["event"]],
            body=call.body.get("body") or "",
            comments=call.body.get("comments") or (),
        )
        return self._shapes.pulls.review(repository, pull, made)

    def _request_review(self, call: Call) -> Response:
        repository, pull = self._lookup.pull(call)
        logins, teams = call.body.get("reviewers") or (), call.body.get("team_reviewers") or ()
        self._state.request_review(repository.full_name, pull.number, by=call.login, logins=logins, teams=teams)
        return as_json(self._shapes.pulls.listed_pull(repository, pull), status=HTTPStatus.CREATED)

    def _comment(self, call: Call) -> Response:
        repository, pull = self._lookup.pull(call)
        made = self._state.comment(repository.full_name, pull.number, by=call.login, body=call.body["body"])
        return as_json(self._shapes.pulls.comment(repository, pull, made), status=HTTPStatus.CREATED)

    def _add_labels(self, call: Call) -> list[Json]:
        call.not_as_app()
        repository, pull = self._lookup.pull(call)
        names = call.body["labels"] if isinstance(call.body, dict) else call.body
        if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
            raise Invalid("Label", "name", "is not a text")
        self._state.add_labels(repository.full_name, pull.number, by=call.login, names=names)
        return self._shapes.pulls.labels(repository, pull)

    def _remove_label(self, call: Call) -> list[Json]:
        call.not_as_app()
        repository, pull = self._lookup.pull(call)
        try:
            self._state.remove_label(repository.full_name, pull.number, by=call.login, name=call.named("label"))
        except Unknown:
            raise Refused(HTTPStatus.NOT_FOUND, "Label does not exist") from None
        return self._shapes.pulls.labels(repository, pull)
