"""
What the embedded forge says, in GitHub's shapes: complete by its REST description and its webhook schemas.

Source: GitHub's REST API description and webhook schemas, as published in the npm packages ``@octokit/openapi`` 23.0.2
and ``@octokit/webhooks-schemas``; tests/embedded/forge holds these shapes against both.
"""

from datetime import datetime
from typing import Any

from notify.embedded.forge.state import ZERO_SHA, Comment, ForgeState, Pull, Repository, Review

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


class Shapes:
    """
    The shapes of one forge.

    Args:
        web_url: Where people see it; the API is below ``/api/v3`` of it, as on GitHub Enterprise Server.
    """

    def __init__(self, state: ForgeState, web_url: str) -> None:
        self._state = state
        self.web_url = web_url
        self.api_url = f"{web_url}/api/v3"

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

    def pull(self, repository: Repository, pull: Pull) -> Json:
        """A pull request as it is asked for by its number, and as webhooks tell it."""
        merger = self.user(pull.merged_by) if pull.merged_by else None
        return {
            **self.listed_pull(repository, pull),
            "mergeable": None,
            "rebaseable": None,
            "mergeable_state": "unknown",
            "merged": pull.merged_at is not None,
            "merged_by": merger,
            "comments": sum(one.path is None for one in pull.comments),
            "review_comments": sum(one.path is not None for one in pull.comments),
            "maintainer_can_modify": False,
            "commits": 1,
            "additions": 1,
            "deletions": 0,
            "changed_files": 1,
        }

    def listed_pull(self, repository: Repository, pull: Pull) -> Json:
        url, html = self._of_pull(repository, pull), self._page_of_pull(repository, pull)
        of_repository = f"{self.api_url}/repos/{repository.full_name}"
        issue = f"{of_repository}/issues/{pull.number}"
        links = {
            "self": url,
            "html": html,
            "issue": issue,
            "comments": f"{issue}/comments",
            "review_comments": f"{url}/comments",
            "review_comment": f"{of_repository}/pulls/comments{{/number}}",
            "commits": f"{url}/commits",
            "statuses": f"{of_repository}/statuses/{pull.head_sha}",
        }
        return {
            "url": url,
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "issue_url": issue,
            **{f"{name}_url": links[name] for name in links if name not in ("self", "html", "issue")},
            "number": pull.number,
            "state": pull.state,
            "locked": False,
            "active_lock_reason": None,
            "title": pull.title,
            "body": pull.body or None,
            "user": self.user(pull.login),
            "draft": pull.draft,
            "created_at": text(pull.created_at),
            "updated_at": text(pull.updated_at),
            "closed_at": pull.closed_at and text(pull.closed_at),
            "merged_at": pull.merged_at and text(pull.merged_at),
            "merge_commit_sha": pull.merge_commit,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [self.team(repository.owner, slug) for slug in pull.teams],
            "labels": [],
            "milestone": None,
            "author_association": "CONTRIBUTOR",
            "auto_merge": None,
            "head": self._end(repository, pull.head, pull.head_sha),
            "base": self._end(repository, pull.base, pull.base_sha),
            "_links": {name: {"href": link} for name, link in links.items()},
        }

    def _end(self, repository: Repository, branch: str, sha: str) -> Json:
        return {
            "label": f"{repository.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(repository.owner),
            "repo": {
                **self.repository(repository, in_webhook=True),
                "allow_squash_merge": True,
                "allow_merge_commit": True,
                "allow_rebase_merge": True,
                "allow_auto_merge": False,
                "allow_update_branch": False,
                "delete_branch_on_merge": False,
                "use_squash_pr_title_as_default": False,
                "squash_merge_commit_message": "COMMIT_MESSAGES",
                "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
                "merge_commit_message": "PR_TITLE",
                "merge_commit_title": "MERGE_MESSAGE",
            },
        }

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

    def comment(self, repository: Repository, pull: Pull, comment: Comment) -> Json:
        """A comment on the whole pull request, or on a line of it."""
        if comment.path is not None:
            return self._line_comment(repository, pull, comment)
        of_repository = f"{self.api_url}/repos/{repository.full_name}"
        url = f"{of_repository}/issues/comments/{comment.id}"
        return {
            "url": url,
            "html_url": f"{self._page_of_pull(repository, pull)}#issuecomment-{comment.id}",
            "issue_url": f"{of_repository}/issues/{pull.number}",
            **self._said(comment),
            "node_id": f"IC_{comment.id}",
            "performed_via_github_app": None,
            "reactions": _reactions(url),
        }

    def _line_comment(self, repository: Repository, pull: Pull, comment: Comment) -> Json:
        url = f"{self.api_url}/repos/{repository.full_name}/pulls/comments/{comment.id}"
        html = f"{self._page_of_pull(repository, pull)}#discussion_r{comment.id}"
        of_pull = self._of_pull(repository, pull)
        return {
            "url": url,
            "html_url": html,
            "pull_request_url": of_pull,
            **self._said(comment),
            "node_id": f"PRRC_{comment.id}",
            "pull_request_review_id": comment.review_id,
            "diff_hunk": "@@ -1 +1 @@",
            "path": comment.path,
            "position": comment.line,
            "original_position": comment.line or 1,
            "line": comment.line,
            "original_line": comment.line or 1,
            "start_line": None,
            "original_start_line": None,
            "start_side": None,
            "side": "RIGHT",
            "subject_type": "line",
            "commit_id": pull.head_sha,
            "original_commit_id": pull.head_sha,
            "reactions": _reactions(url),
            "_links": {"self": {"href": url}, "html": {"href": html}, "pull_request": {"href": of_pull}},
        }

    def _said(self, comment: Comment) -> Json:
        return {
            "id": comment.id,
            "user": self.user(comment.login),
            "body": comment.body,
            "created_at": text(comment.created_at),
            "updated_at": text(comment.created_at),
            "author_association": "CONTRIBUTOR",
        }

    def review(self, repository: Repository, pull: Pull, review: Review, *, in_webhook: bool = False) -> Json:
        """A review; webhooks spell its state in lower case."""
        html = f"{self._page_of_pull(repository, pull)}#pullrequestreview-{review.id}"
        of_pull = self._of_pull(repository, pull)
        return {
            "id": review.id,
            "node_id": f"PRR_{review.id}",
            "user": self.user(review.login),
            "body": review.body or (None if in_webhook else ""),
            "state": review.state.lower() if in_webhook else review.state,
            "html_url": html,
            "pull_request_url": of_pull,
            "submitted_at": text(review.submitted_at),
            "commit_id": review.commit,
            "author_association": "CONTRIBUTOR",
            "_links": {"html": {"href": html}, "pull_request": {"href": of_pull}},
        }

    def issue(self, repository: Repository, pull: Pull) -> Json:
        """The pull request as an issue, which is what comments are on."""
        url = f"{self.api_url}/repos/{repository.full_name}/issues/{pull.number}"
        html = self._page_of_pull(repository, pull)
        return {
            "url": url,
            "repository_url": f"{self.api_url}/repos/{repository.full_name}",
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": html,
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "number": pull.number,
            "title": pull.title,
            "user": self.user(pull.login),
            "labels": [],
            "state": pull.state,
            "locked": False,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "comments": sum(one.path is None for one in pull.comments),
            "created_at": text(pull.created_at),
            "updated_at": text(pull.updated_at),
            "closed_at": pull.closed_at and text(pull.closed_at),
            "author_association": "CONTRIBUTOR",
            "active_lock_reason": None,
            "draft": pull.draft,
            "body": pull.body or None,
            "reactions": _reactions(url),
            "performed_via_github_app": None,
            "state_reason": None,
            "pull_request": {
                "url": self._of_pull(repository, pull),
                "html_url": html,
                "diff_url": f"{html}.diff",
                "patch_url": f"{html}.patch",
                "merged_at": pull.merged_at and text(pull.merged_at),
            },
        }

    def branch(self, repository: Repository, name: str) -> Json:
        sha = repository.branches[name]
        url = f"{self.api_url}/repos/{repository.full_name}/commits/{sha}"
        return {"name": name, "commit": {"sha": sha, "url": url}, "protected": False}

    def payload(self, event: str, repository: Repository, sender: str, facts: Json) -> Json:
        """The payload of a webhook about what the state has told."""
        more = {name: value for name, value in facts.items() if name not in ("of", "comment", "review")}
        pull, comment, review = facts.get("of"), facts.get("comment"), facts.get("review")
        if pull is not None and event == "issue_comment":
            more["issue"] = self.issue(repository, pull)
        elif pull is not None:
            more["pull_request"] = self.pull(repository, pull)
            if event == "pull_request":
                more["number"] = pull.number
        if pull is not None and comment is not None:
            more["comment"] = self.comment(repository, pull, comment)
        if pull is not None and review is not None:
            more["review"] = self.review(repository, pull, review, in_webhook=True)
        if "requested_reviewer" in more:
            more["requested_reviewer"] = self.user(more["requested_reviewer"]["login"])
        if "requested_team" in more:
            more["requested_team"] = self.team(repository.owner, more["requested_team"]["slug"])
        if event == "push":
            more.update(self._pushed(repository, sender, more))
        return {
            **more,
            "repository": self.repository(repository, in_webhook=True),
            "sender": self.user(sender),
            "installation": {"id": 1, "node_id": "I_1"},
        }

    def _pushed(self, repository: Repository, sender: str, facts: Json) -> Json:
        compare = f"{self.web_url}/{repository.full_name}/compare/{facts['before']}...{facts['after']}"
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

    def _of_pull(self, repository: Repository, pull: Pull) -> str:
        return f"{self.api_url}/repos/{repository.full_name}/pulls/{pull.number}"

    def _page_of_pull(self, repository: Repository, pull: Pull) -> str:
        return f"{self.web_url}/{repository.full_name}/pull/{pull.number}"


def text(at: datetime) -> str:
    """An instant as GitHub tells it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _reactions(url: str) -> Json:
    kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}
