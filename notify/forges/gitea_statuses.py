"""
Shows commit statuses on Gitea, or Forgejo.

Source: go-gitea/gitea, routers/api/v1/repo/status.go, issue_label.go and label.go.
"""

from collections.abc import Sequence
from http import HTTPStatus

from notify.domain.forge_answers import ForgeFault, MissingCommit
from notify.domain.forge_settings import ForgeSettings
from notify.domain.statuses import GITEA_STATES, AppliedStatus, Status, WantedStatus
from notify.forges.client import ForgeClient, Reply, Scope, repository_path
from notify.forges.common.statuses import LabelledPull, commit_status, is_gone, labelled_pull, present_name
from notify.forges.pages import Pages

LABEL_COLOUR = "#b60205"
LABEL_WORDS = "A status could not be shown on this pull request."


class GiteaStatusWriter:
    """A ``StatusWriter``. Gitea has no check runs, so the nearest commit status is shown."""

    def __init__(self, settings: ForgeSettings, client: ForgeClient) -> None:
        self._client = client
        self._pages = Pages(client, settings.kind)

    def installation(self, full_name: str) -> int | None:
        return self._client.installation(Scope(full_name))

    def apply(self, wanted: WantedStatus) -> AppliedStatus:
        reply = self._posted(wanted.status)
        return AppliedStatus(remote_id=None, repository=present_name(self._pages, wanted.status.repository, reply))

    def add_label(self, full_name: str, sha: str, label: str) -> None:
        unlabelled = [pull for pull in self._open_pulls(full_name, sha) if label.lower() not in pull.labels]
        if not unlabelled:
            return
        number = self._label(full_name, label)
        for pull in unlabelled:
            path = f"{repository_path(full_name)}/issues/{pull.number}/labels"
            self._client.send("POST", path, Scope(full_name), content={"labels": [number]})

    def remove_label(self, full_name: str, sha: str, label: str) -> None:
        for pull in self._open_pulls(full_name, sha):
            if (number := pull.labels.get(label.lower())) is not None:
                path = f"{repository_path(full_name)}/issues/{pull.number}/labels/{number}"
                self._client.delete(path, Scope(full_name))

    def _open_pulls(self, full_name: str, sha: str) -> Sequence[LabelledPull]:
        """Searches all open ones, because Gitea names the pull request of a commit only once it is merged."""
        path, params = f"{repository_path(full_name)}/pulls", {"state": "open"}
        return list(self._pages.listing(path, Scope(full_name), lambda pull: labelled_pull(pull, sha), params=params))

    def _label(self, full_name: str, label: str) -> int:
        """The label's number in the repository; the label is created if it is missing."""
        path, scope = f"{repository_path(full_name)}/labels", Scope(full_name)
        known = self._pages.listing(path, scope, lambda one: (one.line("name").lower(), one.number("id")))
        for name, number in known:
            if name == label.lower():
                return number
        content = {"name": label, "color": LABEL_COLOUR, "description": LABEL_WORDS}
        return self._pages.read(self._client.send("POST", path, scope, content=content), lambda one: one.number("id"))

    def _posted(self, status: Status) -> Reply:
        path = f"{repository_path(status.repository)}/statuses/{status.sha}"
        content = commit_status(status, states=GITEA_STATES)
        try:
            return self._client.send("POST", path, Scope(status.repository), content=content)
        except ForgeFault as fault:
            if fault.status in (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_FOUND) and self._lacks_commit(status):
                missing = MissingCommit(words=getattr(fault.meaning, "words", ""))
                raise self._client.connection.fault("POST", path, fault.status, missing) from None
            raise

    def _lacks_commit(self, status: Status) -> bool:
        """Whether the repository exists without this commit, for which Gitea answers 500."""
        path, scope = repository_path(status.repository), Scope(status.repository)
        params = {"stat": "false", "verification": "false", "files": "false"}
        try:
            self._client.get(f"{path}/git/commits/{status.sha}", scope, params=params)
        except ForgeFault as fault:
            if not is_gone(fault):
                raise
            return self._client.get(path, scope) is not None
        return False
