"""What notify reads: repositories, branches, files, pull requests, reviews, comments and teams."""

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.routes.call import COMMIT, ISSUE, PULL, REPOSITORY, Call, Route
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.shapes.repository_shapes import Json, text
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown


class ReadingRoutes:
    def __init__(self, state: ForgeState, shapes: Shapes, lookup: Lookup) -> None:
        self._state, self._shapes, self._lookup = state, shapes, lookup

    def routes(self) -> Iterable[Route]:
        return (
            ("GET", REPOSITORY, self._repository),
            ("GET", f"{REPOSITORY}/branches", self._branches),
            ("GET", f"{REPOSITORY}/contents/{{path:path}}", self._contents),
            ("GET", f"{COMMIT}/pulls", self._pulls_of_commit),
            ("GET", f"{REPOSITORY}/pulls", self._pulls),
            # Before the pull request of a number, which "comments" is not.
            ("GET", f"{REPOSITORY}/pulls/comments", self._all_line_comments),
            ("GET", PULL, self._pull),
            ("GET", f"{PULL}/reviews", self._reviews),
            ("GET", f"{PULL}/reviews/{{id}}", self._one_review),
            ("GET", f"{PULL}/reviews/{{id}}/comments", self._comments_of_review),
            ("GET", f"{PULL}/comments", self._line_comments),
            ("GET", f"{REPOSITORY}/issues/comments", self._all_comments),
            ("GET", f"{ISSUE}/comments", self._comments),
            ("GET", f"{ISSUE}/labels", self._labels),
            ("GET", "/orgs/{owner}/teams/{slug}/members", self._team_members),
        )

    def _repository(self, call: Call) -> Json:
        return self._shapes.repositories.repository(self._lookup.repository(call))

    def _branches(self, call: Call) -> list[Json]:
        repository = self._lookup.repository(call)
        return [self._shapes.repositories.branch(repository, name) for name in sorted(repository.branches)]

    def _contents(self, call: Call) -> Any:  # noqa: ANN401 - GitHub answers with a list or an object
        repository, path = self._lookup.repository(call), call.named("path").strip("/")
        if path in repository.files:
            return self._file(repository, path)
        below = {
            one.removeprefix(f"{path}/").partition("/")[0] for one in repository.files if one.startswith(f"{path}/")
        }
        if not below:
            raise Unknown
        return [self._file(repository, f"{path}/{name}", whole=False) for name in sorted(below)]

    def _file(self, repository: Repository, path: str, *, whole: bool = True) -> Json:
        content = repository.files.get(path)
        url = f"{self._shapes.repositories.api_url}/repos/{repository.full_name}/contents/{path}"
        html = f"{self._shapes.repositories.web_url}/{repository.full_name}/blob/{repository.default_branch}/{path}"
        shape = {
            "type": "dir" if content is None else "file",
            "size": len((content or "").encode()),
            "name": path.rpartition("/")[2],
            "path": path,
            "sha": sha256((content or path).encode()).hexdigest()[:40],
            "url": url,
            "git_url": url,
            "html_url": html,
            "download_url": None if content is None else html,
            "_links": {"git": url, "self": url, "html": html},
        }
        if whole and content is not None:
            shape |= {"encoding": "base64", "content": b64encode(content.encode()).decode()}
        return shape

    def _pulls(self, call: Call) -> list[Json]:
        repository, state = self._lookup.repository(call), call.query("state") or "open"
        found = [one for one in repository.pulls.values() if state in ("all", one.state)]
        if call.query("sort") == "updated":
            found.sort(key=lambda one: (one.updated_at, one.number))
        else:
            found.sort(key=lambda one: one.number)
        if call.query("direction") != "asc":
            found.reverse()
        return [self._shapes.pulls.listed_pull(repository, one) for one in found]

    def _pulls_of_commit(self, call: Call) -> list[Json]:
        repository = self._lookup.repository(call)
        sha = self._lookup.commit(repository, call.named("sha"))
        found = [one for one in repository.pulls.values() if one.has(sha)]
        return [self._shapes.pulls.listed_pull(repository, one) for one in found]

    def _labels(self, call: Call) -> list[Json]:
        return self._shapes.pulls.labels(*self._lookup.pull(call))

    def _pull(self, call: Call) -> Json:
        return self._shapes.pulls.pull(*self._lookup.pull(call))

    def _reviews(self, call: Call) -> list[Json]:
        repository, pull = self._lookup.pull(call)
        return [self._shapes.pulls.review(repository, pull, one) for one in pull.reviews]

    def _one_review(self, call: Call) -> Json:
        repository, pull = self._lookup.pull(call)
        for one in pull.reviews:
            if one.id == call.number("id"):
                return self._shapes.pulls.review(repository, pull, one)
        raise Unknown

    def _comments_of_review(self, call: Call) -> list[Json]:
        repository, pull = self._lookup.pull(call)
        of_it = [one for one in pull.comments if one.review_id == call.number("id")]
        return [self._shapes.pulls.comment(repository, pull, one) for one in of_it]

    def _line_comments(self, call: Call) -> list[Json]:
        return self._said(self._lookup.repository(call), [self._lookup.pull(call)[1]], call, on_lines=True)

    def _comments(self, call: Call) -> list[Json]:
        return self._said(self._lookup.repository(call), [self._lookup.pull(call)[1]], call, on_lines=False)

    def _all_line_comments(self, call: Call) -> list[Json]:
        repository = self._lookup.repository(call)
        return self._said(repository, repository.pulls.values(), call, on_lines=True)

    def _all_comments(self, call: Call) -> list[Json]:
        repository = self._lookup.repository(call)
        return self._said(repository, repository.pulls.values(), call, on_lines=False)

    def _said(self, repository: Repository, pulls: Iterable[Pull], call: Call, *, on_lines: bool) -> list[Json]:
        since = call.query("since")
        found = [
            (pull, one)
            for pull in pulls
            for one in pull.comments
            if (one.path is not None) == on_lines and (not since or text(one.created_at) >= since)
        ]
        found.sort(key=lambda one: one[1].id, reverse=call.query("direction") == "desc")
        return [self._shapes.pulls.comment(repository, pull, one) for pull, one in found]

    def _team_members(self, call: Call) -> list[Json]:
        call.only("installation")
        key = f"{call.named('owner')}/{call.named('slug')}"
        if key not in self._state.teams:
            raise Unknown
        return [self._shapes.repositories.user(login) for login in self._state.teams[key]]
