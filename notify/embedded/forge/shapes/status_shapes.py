"""Statuses and check runs, as GitHub's API shows them."""

from collections.abc import Mapping
from typing import Any

from notify.embedded.forge.records import Repository
from notify.embedded.forge.shapes.app_shapes import AppShapes
from notify.embedded.forge.shapes.pull_shapes import PullShapes
from notify.embedded.forge.shapes.repository_shapes import Json, RepositoryShapes, text
from notify.embedded.forge.statuses import CheckRun, StatusCall

_OF_ANNOTATION = (
    "path",
    "start_line",
    "end_line",
    "start_column",
    "end_column",
    "annotation_level",
    "title",
    "message",
    "raw_details",
)


class StatusShapes:
    def __init__(self, repositories: RepositoryShapes, pulls: PullShapes, app: AppShapes) -> None:
        self._repositories, self._pulls, self._app = repositories, pulls, app

    def status(self, repository: Repository, status: StatusCall) -> Json:
        creator = self._repositories.user(status.by)
        return {**self._simple(repository, status, creator["avatar_url"]), "creator": creator}

    def combined(self, repository: Repository, sha: str, latest: list[StatusCall], shown: list[StatusCall]) -> Json:
        """The state of a commit by the newest status of each context, of which one page is shown."""
        url = f"{self._url(repository)}/commits/{sha}"
        return {
            "state": combined_state({one.state for one in latest}),
            "statuses": [self._simple(repository, one, self._repositories.user(one.by)["avatar_url"]) for one in shown],
            "sha": sha,
            "total_count": len(latest),
            "repository": self._repositories.repository(repository),
            "commit_url": url,
            "url": f"{url}/status",
        }

    def _simple(self, repository: Repository, status: StatusCall, avatar_url: str) -> Json:
        return {
            "url": f"{self._url(repository)}/statuses/{status.sha}",
            "avatar_url": avatar_url,
            "id": status.id,
            "node_id": f"SC_{status.id}",
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": text(status.at),
            "updated_at": text(status.at),
        }

    def run(self, repository: Repository, run: CheckRun) -> Json:
        url = f"{self._url(repository)}/check-runs/{run.id}"
        pulls = [one for one in repository.pulls.values() if one.head_sha == run.sha and one.state == "open"]
        return {
            "id": run.id,
            "head_sha": run.sha,
            "node_id": f"CR_{run.id}",
            "external_id": run.external_id,
            "url": url,
            "html_url": f"{self._repositories.web_url}/{repository.full_name}/commit/{run.sha}#check-run-{run.id}",
            "details_url": run.details_url or self._repositories.web_url,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
            "output": {
                **{name: run.output.get(name) for name in ("title", "summary", "text")},
                "annotations_count": len(run.annotations),
                "annotations_url": f"{url}/annotations",
            },
            "name": run.name,
            "check_suite": {"id": repository.id},
            "app": self._app.app(),
            "pull_requests": [self._pulls.minimal(repository, one) for one in pulls],
        }

    def annotation(self, repository: Repository, run: CheckRun, annotation: Mapping[str, Any]) -> Json:
        blob = f"{self._repositories.web_url}/{repository.full_name}/blob/{run.sha}/{annotation['path']}"
        return {**{name: annotation.get(name) for name in _OF_ANNOTATION}, "blob_href": blob}

    def _url(self, repository: Repository) -> str:
        return f"{self._repositories.api_url}/repos/{repository.full_name}"


def combined_state(states: set[str]) -> str:
    """
    One state for those of all contexts.

    Source: GitHub's REST API, "Get the combined status for a specific reference".
    """
    if states & {"error", "failure"}:
        return "failure"
    return "pending" if not states or "pending" in states else "success"
