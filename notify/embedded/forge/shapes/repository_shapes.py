"""Accounts, teams, repositories and branches, as GitHub's API shows them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.state import ForgeState

Json = dict[str, Any]

_OF_USER = {
    "avatar_url": "/avatar",
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_OF_REPOSITORY = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_COUNTS = ("forks", "open_issues", "stargazers", "watchers")
_HAS = ("discussions", "downloads", "issues", "pages", "projects", "wiki")


class RepositoryShapes:
    """
    Accounts, teams, repositories and branches of one forge.

    Args:
        web_url: Where people see it; the API is below ``/api/v3`` of it, as on GitHub Enterprise Server.
    """

    def __init__(self, state: ForgeState, web_url: str) -> None:
        self._state = state
        self.web_url = web_url
        self.api_url = f"{web_url}/api/v3"

    def head_of(self, repository: Repository, pull: Pull) -> Repository:
        """The repository whose branch a pull request brings."""
        if pull.fork is None:
            return repository
        return replace(repository, id=self._state.account_id(f"fork {pull.fork}"), full_name=pull.fork)

    def user(self, login: str) -> Json:
        url = f"{self.api_url}/users/{login}"
        return {
            **self._state.user(login),
            **{name: f"{url}{path}" for name, path in _OF_USER.items()},
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.web_url}/{login}",
            "site_admin": False,
        }

    def repository(self, one: Repository, *, in_webhook: bool = False) -> Json:
        """A repository; webhooks of pushes tell instants otherwise, which no reader needs."""
        url, html = f"{self.api_url}/repos/{one.full_name}", f"{self.web_url}/{one.full_name}"
        shape: Json = {
            **{name: f"{url}{path}" for name, path in _OF_REPOSITORY.items()},
            **{f"{name}_count": 0 for name in _COUNTS},
            **{f"has_{name}": name == "issues" for name in _HAS},
            "id": one.id,
            "node_id": f"R_{one.id}",
            "name": one.name,
            "full_name": one.full_name,
            "owner": self.user(one.owner),
            "private": False,
            "html_url": html,
            "description": None,
            "fork": False,
            "url": url,
            "clone_url": f"{html}.git",
            "git_url": f"{html}.git",
            "ssh_url": f"{html}.git",
            "svn_url": html,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "size": 0,
            "forks": 0,
            "open_issues": 0,
            "watchers": 0,
            "default_branch": one.default_branch,
            "is_template": False,
            "topics": [],
            "custom_properties": {},
            "archived": False,
            "disabled": False,
            "visibility": "public",
            "web_commit_signoff_required": False,
            "created_at": text(one.created_at),
            "updated_at": text(one.pushed_at),
            "pushed_at": text(one.pushed_at),
        }
        return shape if in_webhook else {**shape, "network_count": 0, "subscribers_count": 0}

    def team(self, organization: str, slug: str) -> Json:
        url = f"{self.api_url}/organizations/{self._state.account_id(organization)}/team/{slug}"
        return {
            **self._state.team(organization, slug),
            "url": url,
            "html_url": f"{self.web_url}/orgs/{organization}/teams/{slug}",
            "members_url": f"{url}/members{{/member}}",
            "repositories_url": f"{url}/repos",
            "description": "",
            "privacy": "closed",
            "permission": "push",
            "parent": None,
        }

    def branch(self, repository: Repository, name: str) -> Json:
        sha = repository.branches[name]
        url = f"{self.api_url}/repos/{repository.full_name}/commits/{sha}"
        return {"name": name, "commit": {"sha": sha, "url": url}, "protected": False}


def text(at: datetime) -> str:
    """An instant as GitHub tells it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
