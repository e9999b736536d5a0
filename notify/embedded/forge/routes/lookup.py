"""Finds the repository and the pull request that a call names."""

from http import HTTPStatus

from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.routes.call import Call, Refused
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
        name = f"{call.named('owner')}/{call.named('name')}"
        found = self._state.repository(name)
        if found.full_name.lower() != name.lower():
            path = call.request.url.path.replace(f"/repos/{name}", f"/repositories/{found.id}", 1)
            location = f"{self._web_url}{path}"
            raise Refused(HTTPStatus.MOVED_PERMANENTLY, "Moved Permanently", {"Location": location})
        return found

    def pull(self, call: Call) -> tuple[Repository, Pull]:
        repository = self.repository(call)
        pull = repository.pulls.get(call.number("number"))
        if pull is None:
            raise Unknown
        return repository, pull
