"""Finds the repository, the commit and the pull request that a call names."""

from http import HTTPStatus

from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.routes.call import Call
from notify.embedded.forge.routes.refusals import Refused
from notify.embedded.forge.state import ForgeState, Unknown


class Lookup:
    """
    Args:
        web_url: Where calls are led that use a repository's former name.
    """

    def __init__(self, state: ForgeState, web_url: str) -> None:
        self._state, self._web_url = state, web_url

    def repository(self, call: Call) -> Repository:
        """
        Raises:
            Refused: It has another name today, under which it can be asked for.
        """
        if "repository_id" in call.request.path_params:
            return self._state.by_id(call.number("repository_id"))
        name = f"{call.named('owner')}/{call.named('name')}"
        found = self._state.repository(name)
        if found.full_name.lower() != name.lower():
            raise self._moved(call, f"/repos/{name}", found)
        return found

    def _moved(self, call: Call, before: str, found: Repository) -> Refused:
        """Only what is read is redirected by 301, after which clients may read instead of writing."""
        url = call.request.url
        location = f"{self._web_url}{url.path.replace(before, f'/repositories/{found.id}', 1)}"
        location += f"?{url.query}" if url.query else ""
        reads = call.request.method == "GET"
        status = HTTPStatus.MOVED_PERMANENTLY if reads else HTTPStatus.TEMPORARY_REDIRECT
        return Refused(status, "Moved Permanently", headers={"Location": location}, details={"url": location})

    def commit(self, repository: Repository, sha: str) -> str:
        """
        The commit of this hash or branch.

        Raises:
            Refused: No branch and no pull request ever had it.
        """
        if sha in repository.commits:
            return sha
        if sha in repository.branches:
            return repository.branches[sha]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {sha}")

    def pull(self, call: Call) -> tuple[Repository, Pull]:
        repository = self.repository(call)
        pull = repository.pulls.get(call.number("number"))
        if pull is None:
            raise Unknown
        return repository, pull
