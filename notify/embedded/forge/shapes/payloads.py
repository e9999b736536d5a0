"""What webhooks carry, in GitHub's shapes."""

from notify.embedded.forge.records import Repository, Run
from notify.embedded.forge.shapes.pull_shapes import PullShapes
from notify.embedded.forge.shapes.repository_shapes import Json, RepositoryShapes
from notify.embedded.forge.shapes.run_shapes import RunShapes
from notify.embedded.forge.state import ZERO_SHA


class Payloads:
    def __init__(self, repositories: RepositoryShapes, pulls: PullShapes, runs: RunShapes) -> None:
        self._repositories, self._pulls, self._runs = repositories, pulls, runs

    def payload(self, event: str, repository: Repository, sender: str, facts: Json) -> Json:
        """The payload of a webhook about what the state has told."""
        more = {name: value for name, value in facts.items() if name not in ("of", "comment", "review", "run")}
        pull, comment, review = facts.get("of"), facts.get("comment"), facts.get("review")
        if pull is not None and event == "issue_comment":
            more["issue"] = self._pulls.issue(repository, pull)
        elif pull is not None:
            more["pull_request"] = self._pulls.pull(repository, pull)
            if event == "pull_request":
                more["number"] = pull.number
        if pull is not None and comment is not None:
            more["comment"] = self._pulls.comment(repository, pull, comment)
        if pull is not None and review is not None:
            more["review"] = self._pulls.review(repository, pull, review, in_webhook=True)
        if "requested_reviewer" in more:
            more["requested_reviewer"] = self._repositories.user(more["requested_reviewer"]["login"])
        if "requested_team" in more:
            more["requested_team"] = self._repositories.team(repository.owner, more["requested_team"]["slug"])
        if "label" in more:
            more["label"] = self._pulls.label(repository, more["label"])
        more.update(self._run(repository, facts.get("run")))
        if event == "push":
            more.update(self._pushed(repository, sender, more))
        return {
            **more,
            "repository": self._repositories.repository(repository, in_webhook=True),
            "sender": self._repositories.user(sender),
            "installation": {"id": 1, "node_id": "I_1"},
        }

    def _run(self, repository: Repository, run: Run | None) -> Json:
        if run is None:
            return {}
        return {
            "workflow_run": self._runs.run(repository, run, in_webhook=True),
            "workflow": self._runs.workflow(repository, run),
        }

    def _pushed(self, repository: Repository, sender: str, facts: Json) -> Json:
        compare = f"{self._repositories.web_url}/{repository.full_name}/compare/{facts['before']}...{facts['after']}"
        return {
            "created": facts["before"] == ZERO_SHA,
            "deleted": facts["after"] == ZERO_SHA,
            "forced": False,
            "base_ref": None,
            "compare": compare,
            "commits": [],
            "head_commit": None,
            "pusher": {"name": sender, "email": f"{sender}@users.noreply.example"},
        }
