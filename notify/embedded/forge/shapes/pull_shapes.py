"""Pull requests and what is said on them, as GitHub's API shows them."""

from urllib.parse import quote

from notify.embedded.forge.records import Comment, Pull, Repository, Review
from notify.embedded.forge.shapes.repository_shapes import Json, RepositoryShapes, text


class PullShapes:
    def __init__(self, repositories: RepositoryShapes) -> None:
        self._repositories = repositories

    def pull(self, repository: Repository, pull: Pull) -> Json:
        """A pull request as it is asked for by its number, and as webhooks tell it."""
        merger = self._repositories.user(pull.merged_by) if pull.merged_by else None
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
        of_repository = f"{self._repositories.api_url}/repos/{repository.full_name}"
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
            "user": self._repositories.user(pull.login),
            "draft": pull.draft,
            "created_at": text(pull.created_at),
            "updated_at": text(pull.updated_at),
            "closed_at": pull.closed_at and text(pull.closed_at),
            "merged_at": pull.merged_at and text(pull.merged_at),
            "merge_commit_sha": pull.merge_commit,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [self._repositories.user(login) for login in pull.reviewers],
            "requested_teams": [self._repositories.team(repository.owner, slug) for slug in pull.teams],
            "labels": self.labels(repository, pull),
            "milestone": None,
            "author_association": "CONTRIBUTOR",
            "auto_merge": None,
            "head": self._end(self._repositories.head_of(repository, pull), pull.head, pull.head_sha),
            "base": self._end(repository, pull.base, pull.base_sha),
            "_links": {name: {"href": link} for name, link in links.items()},
        }

    def _end(self, repository: Repository, branch: str, sha: str) -> Json:
        return {
            "label": f"{repository.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self._repositories.user(repository.owner),
            "repo": {
                **self._repositories.repository(repository, in_webhook=True),
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

    def labels(self, repository: Repository, pull: Pull) -> list[Json]:
        return [self.label(repository, name) for name in pull.labels]

    def label(self, repository: Repository, name: str) -> Json:
        return {
            "id": repository.labels[name],
            "node_id": f"LA_{repository.labels[name]}",
            "url": f"{self._repositories.api_url}/repos/{repository.full_name}/labels/{quote(name, safe='')}",
            "name": name,
            "description": "",
            "color": "ededed",
            "default": False,
        }

    def minimal(self, repository: Repository, pull: Pull) -> Json:
        """A pull request as check runs name it."""
        url = f"{self._repositories.api_url}/repos/{repository.full_name}"
        repo = {"id": repository.id, "url": url, "name": repository.name}
        return {
            "id": pull.id,
            "number": pull.number,
            "url": self._of_pull(repository, pull),
            "head": {"ref": pull.head, "sha": pull.head_sha, "repo": repo},
            "base": {"ref": pull.base, "sha": pull.base_sha, "repo": repo},
        }

    def comment(self, repository: Repository, pull: Pull, comment: Comment) -> Json:
        """A comment on the whole pull request, or on a line of it."""
        if comment.path is not None:
            return self._line_comment(repository, pull, comment)
        of_repository = f"{self._repositories.api_url}/repos/{repository.full_name}"
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
        url = f"{self._repositories.api_url}/repos/{repository.full_name}/pulls/comments/{comment.id}"
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
            "user": self._repositories.user(comment.login),
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
            "user": self._repositories.user(review.login),
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
        url = f"{self._repositories.api_url}/repos/{repository.full_name}/issues/{pull.number}"
        html = self._page_of_pull(repository, pull)
        return {
            "url": url,
            "repository_url": f"{self._repositories.api_url}/repos/{repository.full_name}",
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": html,
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "number": pull.number,
            "title": pull.title,
            "user": self._repositories.user(pull.login),
            "labels": self.labels(repository, pull),
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

    def _of_pull(self, repository: Repository, pull: Pull) -> str:
        return f"{self._repositories.api_url}/repos/{repository.full_name}/pulls/{pull.number}"

    def _page_of_pull(self, repository: Repository, pull: Pull) -> str:
        return f"{self._repositories.web_url}/{repository.full_name}/pull/{pull.number}"


def _reactions(url: str) -> Json:
    kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}
