"""Workflows and their runs, as GitHub's API shows them."""

from notify.embedded.forge.records import Repository, Run
from notify.embedded.forge.shapes.repository_shapes import Json, RepositoryShapes, text

_LISTS = ("jobs", "logs", "artifacts", "cancel", "rerun")


class RunShapes:
    def __init__(self, repositories: RepositoryShapes) -> None:
        self._repositories = repositories

    def started(self, repository: Repository, run: Run) -> Json:
        """The answer to a dispatch that asks for the run."""
        shown = self.run(repository, run)
        return {"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]}

    def run(self, repository: Repository, run: Run, *, in_webhook: bool = False) -> Json:
        """A run; webhooks state its commit."""
        actions = f"{self._repositories.api_url}/repos/{repository.full_name}"
        url, shown = f"{actions}/actions/runs/{run.id}", self._repositories.repository(repository)
        actor = self._repositories.user(run.login)
        return {
            **{f"{name}_url": f"{url}/{name}" for name in _LISTS},
            "id": run.id,
            "node_id": f"WFR_{run.id}",
            "name": run.workflow,
            "display_title": run.title,
            "event": "workflow_dispatch",
            "status": "completed" if run.conclusion else "queued",
            "conclusion": run.conclusion,
            "path": _path(run),
            "workflow_id": run.workflow_id,
            "workflow_url": f"{actions}/actions/workflows/{run.workflow_id}",
            "run_number": run.number,
            "run_attempt": 1,
            "previous_attempt_url": None,
            "head_branch": run.branch,
            "head_sha": run.sha,
            "head_commit": _commit(run) if in_webhook else None,
            "head_repository": shown,
            "repository": shown,
            "url": url,
            "html_url": f"{self._repositories.web_url}/{repository.full_name}/actions/runs/{run.id}",
            "check_suite_id": run.id,
            "check_suite_node_id": f"CS_{run.id}",
            "check_suite_url": f"{actions}/check-suites/{run.id}",
            "pull_requests": [],
            "actor": actor,
            "triggering_actor": actor,
            "run_started_at": text(run.created_at),
            "created_at": text(run.created_at),
            "updated_at": text(run.updated_at),
        }

    def workflow(self, repository: Repository, run: Run) -> Json:
        web = f"{self._repositories.web_url}/{repository.full_name}"
        api = f"{self._repositories.api_url}/repos/{repository.full_name}"
        return {
            "id": run.workflow_id,
            "node_id": f"W_{run.workflow_id}",
            "name": run.workflow,
            "path": _path(run),
            "state": "active",
            "url": f"{api}/actions/workflows/{run.workflow_id}",
            "html_url": f"{web}/blob/{run.branch}/{_path(run)}",
            "badge_url": f"{web}/workflows/{run.workflow_id}/badge.svg",
            "created_at": text(repository.created_at),
            "updated_at": text(repository.created_at),
        }


def _path(run: Run) -> str:
    return f".github/workflows/{run.file}"


def _commit(run: Run) -> Json:
    who = {"name": run.login, "email": f"{run.login}@users.noreply.example"}
    at = text(run.created_at)
    return {"id": run.sha, "tree_id": run.sha, "message": "", "timestamp": at, "author": who, "committer": who}
